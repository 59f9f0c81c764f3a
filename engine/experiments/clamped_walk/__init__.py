"""Walks that shift some coordinates of the embeddings and descend on the others to hold the output."""
