"""The core: calls on sessions, in order, run in batches."""
