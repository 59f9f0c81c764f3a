"""The search for a step size."""
