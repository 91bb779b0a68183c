"""The stores and queries on PostgreSQL."""
