"""`carousel bench`: load on a running service over its stream, and what came of it. Knows the wire alone."""
