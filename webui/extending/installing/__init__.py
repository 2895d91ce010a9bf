"""Getting extensions from elsewhere: nothing fetched is run before the user has seen it and said yes."""
