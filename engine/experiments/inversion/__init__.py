"""Descents from noise to the output of a prompt."""
