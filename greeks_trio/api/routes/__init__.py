"""The HTTP paths, one module for each subject."""
