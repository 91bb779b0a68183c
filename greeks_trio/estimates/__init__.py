"""Estimates of Greeks that brokers do not send, or that are stale."""
