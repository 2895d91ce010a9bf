"""Image files: opened through one guarded door, named, written whole, and read for how they were made."""
