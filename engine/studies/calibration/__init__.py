"""How often verdicts are false, on simulated claims whose truth is known."""
