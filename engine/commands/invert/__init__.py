"""`lm-claims invert`: one inversion at the terminal, shown as it goes."""
