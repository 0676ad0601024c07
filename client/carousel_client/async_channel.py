"""A session on a stream, for asyncio: the calls of the stream that are about it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from carousel_client.closing import STOPPING, Closing
from carousel_client.frames import Array, alone
from carousel_client.order import ChannelState
from carousel_client.sequences import forecast
from carousel_client.stream_calls import Forecast, Rewind

if TYPE_CHECKING:
    from carousel_client.async_stream import AsyncStream


class AsyncChannel(ChannelState, Closing):
    """A session on an AsyncStream. `async with` closes it. ChannelState tells the attributes."""

    def __init__(self, stream: AsyncStream, session: str) -> None:
        super().__init__(session)
        self._stream = stream

    async def step(self, inputs: ArrayLike, *, timeout: float | None = None) -> Array:
        """Advance the session alone: by a row [F] → [K], or by [T, F] → [T, K]. See AsyncStream.step."""
        return (await self._stream.step([self], alone(inputs), timeout=timeout))[0]

    async def forecast(self, inputs: ArrayLike | None = None, steps: int = 0, *, timeout: float | None = None) -> Array:
        """What a copy answers to [T, F] and then to its own outputs → [T + steps, K]. See AsyncSession.forecast."""
        asked, _ = forecast(None if inputs is None else np.atleast_2d(alone(inputs)[0]), steps)
        return await self._stream._ask(Forecast, self, asked, timeout)

    async def rewind(self, step: int, *, timeout: float | None = None) -> None:
        """Set the session back to the snapshot that it keeps of a step, after its calls. See AsyncSession.rewind."""
        await self._stream._ask(Rewind, self, {"step": step}, timeout)

    async def close(self, *, end: bool | None = None, timeout: float | None = None) -> None:
        """Close the channel after its calls. `end` deletes the session; None: if the client made its id."""
        await self._stream._close(self, end, timeout)

    async def _stop(self) -> None:
        await self.close(timeout=STOPPING)
