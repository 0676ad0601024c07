"""What `async with` does for clients, sessions, streams and channels."""

from __future__ import annotations

from contextlib import suppress
from typing import Self

from carousel_client.errors import CarouselError


class Closing:
    """What `async with` closes at its end."""

    async def close(self) -> None:
        """Close it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        with suppress(*[CarouselError] if error else []):  # the error of the block says more
            await self.close()
