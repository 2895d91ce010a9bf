"""Plain data that every layer speaks: what was asked, what it resolved to, what happened."""
