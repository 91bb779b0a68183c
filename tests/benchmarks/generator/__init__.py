"""A generator of market data at any rate, in a process of its own.

The simulated brokers do the logins, the positions and the answers to subscriptions.  The
ticks themselves are prepared frames with changing numbers, because a simulator that
computes each tick needs more CPU time than the service under test.
"""
