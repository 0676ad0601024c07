"""HTTP/1.1: connections, their guard, heads and bodies. Knows nothing of models."""
