"""What `async with` does for clients, sessions, streams and channels."""

from __future__ import annotations

from contextlib import suppress
from typing import Self

from carousel_client.errors import CarouselError

STOPPING = 1.0  # seconds to tell the service behind an error, which may be that it is not there


class Closing:
    """What `async with` closes at its end."""

    async def close(self) -> None:
        """Close it."""

    async def _stop(self) -> None:
        """Close it behind an error of the block, for which the caller waits."""
        await self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        with suppress(*[CarouselError] if error else []):  # the error of the block says more
            await (self._stop() if error else self.close())
