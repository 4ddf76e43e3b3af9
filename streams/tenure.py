"""As which member of the group a worker has its partitions: whether others can have had them in between."""

from __future__ import annotations

from typing import Final, NamedTuple


class Tenure(NamedTuple):
    """A member's name and the group's generation, as the coordinator told them.

    It counts a generation at each rebalance, and gives a new name to a member that it had put out.
    """

    member: str
    generation: int

    def follows(self, before: Tenure) -> bool:
        """Whether this member was in the group from then on, and there was no generation in between."""
        return bool(before.member) and self == (before.member, before.generation + 1)


NO_TENURE: Final = Tenure("", 0)
