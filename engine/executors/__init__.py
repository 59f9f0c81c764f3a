"""Ways to run arms: one after the other in this process, or spread out."""
