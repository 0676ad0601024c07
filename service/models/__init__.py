"""Model files: how they are run, examined and found."""
