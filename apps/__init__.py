"""One folder per application; apps never import each other."""
