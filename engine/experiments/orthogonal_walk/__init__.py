"""Walks orthogonal to the gradients of the output."""
