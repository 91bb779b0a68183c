"""The rules for access: tokens, origins, browser sessions and limits."""
