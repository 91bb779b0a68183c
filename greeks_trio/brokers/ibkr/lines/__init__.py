"""The market-data lines: the contracts that have one, and their renewal.  Pure."""
