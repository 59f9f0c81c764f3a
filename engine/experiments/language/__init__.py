"""Next tokens and continuations of the whole model."""
