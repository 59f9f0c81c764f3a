"""How a stack and its head condition gradients."""
