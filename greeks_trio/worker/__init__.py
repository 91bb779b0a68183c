"""One process beside the service for work that takes much of the processor."""
