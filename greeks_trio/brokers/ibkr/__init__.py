"""Interactive Brokers, through the Client Portal gateway."""
