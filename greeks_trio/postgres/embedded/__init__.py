"""The bundled PostgreSQL: its cluster, its process and its restarts."""
