"""Recovery of prompts from their activations, and how far other tokens' activations are from theirs."""
