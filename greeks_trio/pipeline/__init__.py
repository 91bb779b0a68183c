"""From the feeds to the stores: order, backlog, writing and spooling."""
