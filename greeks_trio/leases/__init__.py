"""Several services on the same logins: the leases of the feeds."""
