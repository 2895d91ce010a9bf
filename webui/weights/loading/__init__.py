"""Networks and tokenizers, built and filled from files."""
