"""Alerts by webhook, chat or mail, for those who run no Alertmanager.

`AlertChannel.send` takes an `Alert` and returns at once.  Each address has a thread and a
bounded queue of its own, so a slow one holds up neither the service nor the others.
"""

from greeks_trio.alerts.channel import Alert, AlertChannel
from greeks_trio.alerts.destination import open_destinations

__all__ = ["Alert", "AlertChannel", "open_destinations"]
