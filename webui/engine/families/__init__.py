"""One file per model family: only what differs."""
