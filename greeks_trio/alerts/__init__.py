"""Alerts by webhook, chat or mail: about the service itself, and about limits.

Both use the same channels.  Each channel has a thread and a bounded queue of its own, so a
slow one holds up neither the service nor the others.
"""
