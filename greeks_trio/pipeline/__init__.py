"""Concurrency that knows neither brokers nor PostgreSQL."""
