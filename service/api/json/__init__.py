"""Steps and predicts by JSON, from bytes to calls and back."""
