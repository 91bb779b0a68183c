"""The spool on disk: ticks and journal entries that PostgreSQL has not committed yet."""
