"""The books of the simulated brokers: what their accounts hold, as data.  Pure."""
