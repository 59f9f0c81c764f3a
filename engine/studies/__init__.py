"""What the suite says of itself: calibration of verdicts and benchmarks. Nothing else imports these."""
