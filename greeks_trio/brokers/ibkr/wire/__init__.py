"""The gateway's WebSocket on the wire: frames in, events out.  Pure."""
