"""Training of the suite's own models, with their checkpoints."""
