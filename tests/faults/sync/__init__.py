"""A pull against hostile servers: refused whole, or kept whole, and mended by the next run."""
