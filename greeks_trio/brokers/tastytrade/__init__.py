"""Tastytrade: accounts through its SDK, market data over DXLink."""
