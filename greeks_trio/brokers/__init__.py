"""One package for each broker.  The packages never import each other."""
