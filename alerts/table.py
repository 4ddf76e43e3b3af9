"""A table of numbers, a row a site, that can be written down and read back by zone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alerts.levels import NEVER


class Table:
    """Named columns of one length, each a numpy array: ``Table(3, level=np.int8, since=np.int64)``.

    int64 columns hold times in ms and start at NEVER, floats at NaN, the rest at 0; a dtype with a shape, as
    in ``(np.int64, 4)``, makes a column of vectors.
    """

    def __init__(self, rows: int, **columns: Any) -> None:
        self.rows = rows
        self._names = tuple(columns)
        for name, spec in columns.items():
            dtype, *shape = spec if isinstance(spec, tuple) else (spec,)
            empty = NEVER if dtype is np.int64 else np.nan if dtype is np.float64 else 0
            setattr(self, name, np.full((rows, *shape), empty, dtype))

    def __getattr__(self, name: str) -> NDArray[Any]:
        raise AttributeError(name)

    def dump(self, rows: slice) -> dict[str, bytes]:
        """The rows as raw little-endian columns."""
        return {name: getattr(self, name)[rows].tobytes() for name in self._names}

    def load(self, saved: dict[str, bytes], old: list[int], new: list[int]) -> None:
        """Puts row ``old[i]`` of what ``dump`` gave into row ``new[i]``; columns it does not know stay as they are."""
        for name in self._names:
            if name not in saved:
                continue
            column = getattr(self, name)
            values = np.frombuffer(saved[name], column.dtype).reshape(-1, *column.shape[1:])
            column[new] = values[old]
