"""Model files: what they say, whether they can be served, and which versions are."""
