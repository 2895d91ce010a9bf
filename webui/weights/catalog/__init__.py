"""The models on the disk: found, named, described on cards, remembered with their hashes."""
