"""Where measurements are kept: one file each, named by the digest of the arm."""

from engine.ledger.store import Ledger, find_measurements

__all__ = ["Ledger", "find_measurements"]
