"""The drill: the whole service under a seeded schedule of faults."""
