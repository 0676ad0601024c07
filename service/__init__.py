"""The server: keeps recurrent state for its callers. Never imports torch, training or the client."""

__version__ = "0.1.0"
