"""The embedding matrix: its round trip, its pseudo-inverse, the words in its vocabulary."""
