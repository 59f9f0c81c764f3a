"""Next tokens and continuations."""
