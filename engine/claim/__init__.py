"""What a claim declares, what decides it, and how it is registered."""
