"""A simulated Tastytrade: REST, DXLink and the account stream."""
