"""Data of a recipe: table → sequences → parts → windows."""
