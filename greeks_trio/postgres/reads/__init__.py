"""The queries of the HTTP interface."""
