"""Prices, Greeks, implied volatilities and scenarios of options.  Pure; needs numpy."""
