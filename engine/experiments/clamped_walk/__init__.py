"""Walks that shift the last embeddings and descend on the others to hold the output."""
