"""The real data sets, where the machine has them."""

import os

import pytest

needs_data = pytest.mark.skipif(
    not os.environ.get("CAROUSEL_DATA"), reason="CAROUSEL_DATA names no folder with the published data sets"
)
