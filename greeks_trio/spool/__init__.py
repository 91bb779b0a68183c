"""The disk behind the pipeline: ticks and notes that no database has taken yet."""
