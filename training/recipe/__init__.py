"""A recipe: one training task as a frozen, validated value. docs/recipes.md describes the format."""
