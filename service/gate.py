"""How much work may wait for one engine; it counts rows and bytes and refuses, and knows nothing of what they are."""

from service.errors import Overloaded, PayloadTooLarge, ShuttingDown


class Gate:
    """The bound of one queue. Invariant: rows and bytes are those entered and not left."""

    def __init__(self, *, most_rows: int, most_bytes: int) -> None:
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self.rows = self.bytes = 0
        self.closed = False  # draining: what entered is served, nothing else enters

    def __repr__(self) -> str:
        return f"<Gate {self.rows} of {self._most_rows} rows, {self.bytes} of {self._most_bytes} B>"

    def check(self, rows: int, size: int, *, seconds_per_byte: float) -> None:
        """Refuse `rows` more of `size` bytes together if they do not all fit; what waits says when to come again.

        Raises:
            ShuttingDown, Overloaded: not now.
            PayloadTooLarge: not ever.

        """
        if self.closed:
            raise ShuttingDown
        if rows > self._most_rows or size > self._most_bytes:
            raise PayloadTooLarge(
                f"{rows} sequences of {size} bytes with their answers in one call;"
                f" at most {self._most_rows} and {self._most_bytes} bytes can wait"
            )
        if self.rows + rows > self._most_rows or self.bytes + size > self._most_bytes:
            seconds = min(30.0, self.bytes * seconds_per_byte)
            raise Overloaded(f"{self.rows} sequences wait already", max(1, round(1000 * seconds)))

    def enter(self, rows: int, size: int) -> None:
        """So many rows more, of so many bytes together."""
        self.rows += rows
        self.bytes += size

    def leave(self, rows: int, size: int) -> None:
        """So many less."""
        self.rows -= rows
        self.bytes -= size
