"""Engines for the doors: the same as for their own tests."""

from tests.service.engine.conftest import serve

__all__ = ["serve"]
