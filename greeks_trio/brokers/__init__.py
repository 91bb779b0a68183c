"""One package per broker; they never import each other."""
