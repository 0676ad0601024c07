"""Shipped recipes, one file per training task."""
