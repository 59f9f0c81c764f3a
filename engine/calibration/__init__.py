"""Simulated claims whose truth is known, judged by the code that judges real ones: how often verdicts are false."""
