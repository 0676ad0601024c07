"""What a channel shows without a call."""

from __future__ import annotations

from carousel_client.lanes import Lane


class ChannelView:
    """A session on a stream."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    @property
    def session(self) -> str:
        """The session's id: what to open it by later."""
        return self._lane.session

    @property
    def model(self) -> str:
        """The model's name."""
        return self._lane.model

    @property
    def version(self) -> str:
        """The model's version."""
        return self._lane.version

    @property
    def created(self) -> bool:
        """Whether opening made the session, rather than resumed it."""
        return self._lane.created

    @property
    def next_step(self) -> int:
        """How many steps the session has consumed, as far as the client has heard."""
        return self._lane.step

    @property
    def replay(self) -> int:
        """How many calls may be under way."""
        return self._lane.replay

    @property
    def feature_count(self) -> int:
        """F."""
        return self._lane.feature_count

    @property
    def output_count(self) -> int:
        """K."""
        return self._lane.output_count

    def resume(self) -> None:
        """After a failed `submit`: take calls again, the next one at the step of the first that failed.

        Until then they are refused, so that none takes its place unawares. Send the failed ones again in their order:
        what was applied is answered like the first time, what was not is applied.
        """
        self._lane.failed = None

    def __repr__(self) -> str:
        lane = self._lane
        return f"<{type(self).__name__} {lane.session} of {lane.model}/{lane.version} at step {lane.step}>"
