"""Sessions: their states and columns, kept answers, ids and lifetimes, and states as bytes."""
