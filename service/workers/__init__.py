"""Several processes that serve together: a supervisor starts them, watches them and carries their messages."""
