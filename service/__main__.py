"""`python -m service` is `carousel`."""

from service.cli import app

app()
