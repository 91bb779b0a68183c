"""Live option Greeks from several brokers, durable in PostgreSQL within milliseconds."""
