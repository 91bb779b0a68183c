"""Contracts, positions and ticks.  Pure."""
