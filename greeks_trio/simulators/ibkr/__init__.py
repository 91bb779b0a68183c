"""A simulated Client Portal gateway of IBKR."""
