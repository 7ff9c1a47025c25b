"""One folder an application; apps never import each other."""
