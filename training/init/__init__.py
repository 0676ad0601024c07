"""`carousel-train init`: a table → a first recipe, and the reason for each of its lines."""
