"""Small fields of bodies."""

import pytest

from service.api import views
from service.errors import InvalidRequest
from service.sessions.snapshots import Rule


def test_a_rule_bounds_the_bytes_of_a_session() -> None:
    asked = {"snapshots": {"every": 1, "keep": 200}}
    assert views.rule(asked, 2**16, "body") == Rule(1, 200)
    with pytest.raises(InvalidRequest, match=r"body.snapshots.keep: 200 of 96000 bytes are over"):
        views.rule(asked, 96_000, "body")
    assert views.rule({}, 2**30, "body") is None
