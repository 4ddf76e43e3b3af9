"""Whether others can have had a worker's partitions is told from the group's generations."""

import pytest

from streams.tenure import NO_TENURE, Tenure


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (Tenure("a", 3), Tenure("a", 4), True),  # one rebalance, and it took part
        (Tenure("a", 3), Tenure("a", 5), False),  # others had a generation without it
        (Tenure("a", 3), Tenure("b", 4), False),  # it had been put out
        (Tenure("a", 3), Tenure("a", 3), False),  # the coordinator has not told of the new one yet
        (NO_TENURE, Tenure("a", 1), False),
        (NO_TENURE, Tenure("", 1), False),
    ],
)
def test_partitions_are_kept_where_nobody_else_can_have_had_them(before: Tenure, after: Tenure, kept: bool) -> None:
    assert after.follows(before) is kept
