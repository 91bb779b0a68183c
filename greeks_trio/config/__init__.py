"""The settings: their declarations, and how the environment and the file are read."""
