"""Simulated brokers on real sockets and the real wire, for demo, tests and drill."""
