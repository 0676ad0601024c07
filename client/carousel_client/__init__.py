"""The Python client of Carousel."""
