"""The health of the running service: status, metrics, alerts and watches."""
