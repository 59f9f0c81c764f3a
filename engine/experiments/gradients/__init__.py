"""Gradients of a stack's outputs."""
