"""DXLink on the wire: frames in, events out.  Pure."""
