"""The schema: migrations and monthly partitions."""
