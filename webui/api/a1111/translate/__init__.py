"""A1111's words to ours and back: the only place where both vocabularies meet."""
