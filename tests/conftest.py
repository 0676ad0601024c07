"""Settings and fixtures that more than one test file uses."""

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: a shared machine is slow at times. `--hypothesis-profile=soak` looks at 25 times as many examples.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("suite"), max_examples=2_500)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make soak` ask for more of what a random campaign does."""
    parser.addoption("--mutants", type=int, default=600, help="malformed requests of each route and of each code")
