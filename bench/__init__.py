"""Benches: the only place where time is measured. They print, and append to RESULTS.md."""
