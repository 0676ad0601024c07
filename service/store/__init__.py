"""Where changes of sessions go before they are answered."""
