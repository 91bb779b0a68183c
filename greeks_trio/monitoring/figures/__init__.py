"""The table of figures, one module for each subject."""
