"""The whole line shown to people: uses training, the service and the client together."""
