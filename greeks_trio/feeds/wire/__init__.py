"""Bytes of a websocket, without I/O."""
