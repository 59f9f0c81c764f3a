"""Prompts sought from their activations."""
