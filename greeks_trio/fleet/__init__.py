"""Several services on one machine, each a process of its own, and one endpoint over them."""
