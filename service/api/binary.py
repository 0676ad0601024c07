"""Binary frames of the stream: the calls that they ask for. Reads and decides; sends nothing."""

from collections.abc import Callable

from service.api import frames
from service.api.channels import Channels
from service.api.control import CONTROL, Tell, View
from service.api.frames import LONE
from service.engine import Engine
from service.errors import CarouselError
from service.work import LAST, UNCHECKED, Call, One

Send = Callable[[bytes, int], None]  # an answer to send, and the bytes that its frame had in flight
Asked = tuple[Call, int, Engine]  # a call, the bytes it has in flight until it is answered, the engine to submit it to


class Binary:
    """What the binary frames of one socket do."""

    def __init__(self, channels: Channels, send: Send, tell: Tell) -> None:
        self._channels, self._send, self._tell = channels, send, tell

    def call(self, content: bytes, told: View) -> Asked:
        """What a frame asks for. `told` is what will be said of it if it is refused.

        Raises:
            CarouselError: it is refused.

        """
        return self._lone(content) or self._many(content, told)

    def _lone(self, content: bytes) -> Asked | None:
        """A frame of one session without a fault, as most are: what has one is for `_many` to name."""
        if len(content) < LONE.size:
            return None
        _, n, channel, length, step = LONE.unpack_from(content)
        if n != 1:
            return None
        try:
            row, served = self._channels.row(channel)
        except CarouselError:
            return None
        model = served.engine.model
        if (inputs := frames.lone_inputs(content, length, model.features)) is None:
            return None
        size = CONTROL + len(content) + 4 * length * model.outputs

        def ended(call: One) -> None:
            if call.errors:
                self._failed(call, [channel], content, size)
            else:
                self._send(frames.lone_answer(content, call.start + length, call.outputs), size)

        return One(row, step if step >= UNCHECKED else LAST, inputs, ended), size, served.engine

    def _many(self, content: bytes, told: View) -> Asked:
        def blame(channel: int) -> None:
            told["channel"] = channel

        frame = frames.read(content, blame)
        rows, served = self._channels.rows(frame.channels, blame)
        inputs = frame.inputs(served.file.description.features, blame)
        size = CONTROL + len(content) + 4 * len(inputs) * served.engine.model.outputs

        def ended(call: Call) -> None:
            if call.errors:
                self._failed(call, frames.numbers(frame.channels), content, size)
            else:
                self._send(frame.answer(call.starts, call.outputs), size)

        return Call(rows, frame.lengths, frame.asked, inputs, ended), size, served.engine

    def _failed(self, call: Call, channels: list[int], content: bytes, size: int) -> None:
        """Tell of a frame that was refused, or of which some items could not run any more."""
        index, error = min(call.errors.items())
        view: View = {"id": frames.id_of(content), "channel": channels[index], "error": error.problem()}
        if not call.refused:
            failed = [{"channel": channels[row], "error": one.problem()} for row, one in sorted(call.errors.items())]
            view["failed"] = failed
            view["error"]["failed"] = failed  # for clients that pass the problem on alone
        self._tell(view, size)
