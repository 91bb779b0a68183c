"""The books of the simulated brokers: the holdings of their accounts, as data."""
