"""The list resources: parameters, cursors, schemas and exports."""
