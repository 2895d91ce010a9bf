"""Weight files of every format: what they declare, checked, and their tensors."""
