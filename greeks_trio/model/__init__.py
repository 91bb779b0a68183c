"""What the business talks about: contracts, positions, ticks.  Pure."""
