"""One module for each `lm-claims COMMAND`."""
