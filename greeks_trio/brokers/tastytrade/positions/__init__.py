"""Tastytrade's positions in the terms of the model.  Pure."""
