"""Line protocol on its way to the database, column by column: joined only when it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Lines:
    """Points as columns, of a line each: measurement and tags; fields, and the blanks around them; time in ms.

    What a line is made of is shared by many, and is text once.
    """

    def __init__(self, series: Iterable[bytes] = (), fields: Iterable[bytes] = (), times: Iterable[bytes] = ()) -> None:
        self._columns = [*series], [*fields], [*times]

    @classmethod
    def of(cls, points: Iterable[tuple[str, str, int]]) -> Lines:
        """Of points of (series, fields, time)."""
        return cls(*zip(*((s.encode(), f" {f} ".encode(), b"%d" % at_ms) for s, f, at_ms in points), strict=True))

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[str]:
        """One after the other, as text."""
        return (b"".join(line).decode() for line in zip(*self._columns, strict=True))

    def cut(self, start: int, stop: int | None = None) -> Lines:
        """The lines from start up to stop."""
        return Lines(*(column[start:stop] for column in self._columns))

    def since(self, at_ms: int) -> Lines:
        """Those of this time or later."""
        rows = [row for row, time in enumerate(self._columns[2]) if int(time) >= at_ms]
        return Lines(*([column[row] for row in rows] for column in self._columns))

    def extend(self, more: Lines) -> None:
        for column, new in zip(self._columns, more._columns, strict=True):
            column += new

    def text(self) -> bytes:
        """What the database is sent."""
        parts = [b"\n"] * (4 * len(self))
        for place, column in enumerate(self._columns):
            parts[place::4] = column
        return b"".join(parts)
