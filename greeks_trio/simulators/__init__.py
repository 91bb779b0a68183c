"""Simulated brokers on the real wire: for the demo, the tests and drills."""
