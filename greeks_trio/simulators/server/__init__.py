"""The HTTP and WebSocket server that the simulated brokers share."""
