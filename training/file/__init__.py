"""Model files: contract, export, verification, int8, model card."""
