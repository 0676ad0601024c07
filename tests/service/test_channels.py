"""The channels of one socket, over an engine that need not run."""

import numpy as np

from service.api.channels import Channels
from service.model import OnnxModel
from tests.service.serving import Serve


def _no_blame(channel: int) -> None:
    raise AssertionError(f"channel {channel} is blamed")


async def test_rows_are_remembered_of_so_many_channels_only_however_long_the_frames(serve: Serve) -> None:
    it = serve(started=False, most=3_000)
    channels = Channels(it.sessions)
    file: OnnxModel = None  # type: ignore[assignment]  # channels only pass it on
    sessions = [it.open(str(index)) for index in range(3_000)]
    numbers = np.array([channels.open(one, it.engine, file) for one in sessions], np.int64)
    for shift in range(60):
        rolled = np.roll(numbers, shift)
        rows, served = channels.rows(rolled, _no_blame)
        assert rows.tolist() == [sessions[number - 1].row for number in rolled.tolist()]
        assert served.engine is it.engine
    assert sum(len(rows) for rows, _, _ in channels._found.values()) <= 65_536 + 3_000
