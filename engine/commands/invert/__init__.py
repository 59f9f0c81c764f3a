"""`lm-claims invert`: run one inversion at the terminal and show it as it goes."""
