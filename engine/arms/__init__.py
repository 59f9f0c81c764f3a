"""What is run: stacks, settings, protocols, prompts, and the digest that names an arm. No torch."""
