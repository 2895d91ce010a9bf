"""What there is on the disk, kept in view: models."""
