"""The token-embedding matrix itself: its round trip, its pseudo-inverse, and the words in its vocabulary."""
