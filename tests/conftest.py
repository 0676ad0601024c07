"""Fixtures and settings of the whole suite."""

from hypothesis import settings

settings.register_profile("carousel", deadline=None)  # a busy machine fails no test
settings.load_profile("carousel")
