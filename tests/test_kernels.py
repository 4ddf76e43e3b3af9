"""What is compiled of the fold gives the same bytes as numpy, at the edges of floats too, and leaves the same state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType

import msgspec
import numpy as np
import pytest
from examples import DEPTH, sites
from hypothesis import given
from hypothesis import strategies as st
from strategies import rules_file

from alerts import kernels
from alerts.fold import Fold
from alerts.rulebook import Rulebook
from sensors.catalogue import Catalogue
from sensors.record import Record, Records

START = 1_714_800_000
SENSORS = ("F1", "F2")
SILENT = {"id": "silent", "type": "silence", "kind": "flood", "levels": {"yellow": "9m", "orange": "1h"}}
CATALOGUE = Catalogue.parse(msgspec.json.encode(sites()))

# near thresholds, near half a millionth, and where floats are far apart
edges = st.sampled_from(
    [0.0, -0.0, 0.07, 0.1, 0.17, 0.2, 0.24, 0.27, 0.0999995, 0.1000005, 0.2699995, 1.7, 1048576.0000005, 1e300]
)
values = st.one_of(edges, st.floats(-1, 2), st.floats(allow_nan=False, allow_infinity=False))
times = st.one_of(st.integers(0, 20), st.sampled_from([590, 601, 4000]))
reading = st.tuples(st.sampled_from(SENSORS), times, values)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    if kernels.compiled is None:
        assert not os.environ.get("KAPOK_CI"), "alerts/_kernels.c was not compiled"
        pytest.skip("alerts/_kernels.c was not compiled: no C compiler at installation")


def log(packs: Sequence[Sequence[tuple[str, int, float]]]) -> list[Record]:
    made = []
    for offset, pack in enumerate(packs):
        entries = [{"n": f"{sensor}/depth", "t": START + time, "v": value} for sensor, time, value in pack]
        made.append(Record("readings.flood", 0, offset, START * 1000, b"TH-03", msgspec.json.encode(entries)))
    return made


def folded(records: list[Record], rules: str, cuts: Sequence[int]) -> list[object]:
    fold, found = Fold(CATALOGUE, Rulebook.parse(rules), partition=0, partitions=1), []
    for begin, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        outcome = fold.apply("flood", records[begin:end])
        found += sorted(alert.value for alert in outcome.alerts)
        found += [(one.reason, one.detail, one.offset) for one in outcome.rejected]
        found += sorted(outcome.graded.items())
    return [*found, fold.duplicates, fold.checkpoint()]


@given(
    st.lists(st.lists(reading, min_size=1, max_size=5), min_size=1, max_size=12),
    st.sampled_from([{}, {"max_step": 0.5}, {"min": -0.05, "max": 10, "max_step": 1.5}]),
    st.floats(0, 0.1),
    st.data(),
)
def test_the_same_alerts_rejections_grades_and_state(
    packs: list[list[tuple[str, int, float]]], limits: dict[str, float], hysteresis: float, data: st.DataObject
) -> None:
    rules, records = (
        rules_file([DEPTH | {"id": "depth", "hysteresis": hysteresis}, SILENT], {"depth": limits}),
        log(packs),
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(records)), max_size=3)))
    compiled = folded(records, rules, cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "compiled", None)
        assert folded(records, rules, cuts) == compiled


@pytest.mark.parametrize("stamp", [-(1 << 63), -5, START * 1000, 1 << 62, (1 << 63) - 1])
@pytest.mark.parametrize("module", [kernels.compiled, None])
def test_whatever_timestamp_a_record_has_a_reading_is_taken(
    stamp: int, module: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As columns too, as a worker has them: there it comes as it is."""
    key, pack = b"TH-03", msgspec.json.encode([{"n": "F1/depth", "t": START, "v": 0.3}])
    none, spans = np.zeros(1, np.int64), np.array([[0, len(key), len(key), len(pack)]])
    records = Records(("readings.flood",), key + pack, none, none, none, np.array([stamp]), spans)
    monkeypatch.setattr(kernels, "compiled", module)
    for form in (records, list(records)):
        fold = Fold(CATALOGUE, Rulebook.parse(rules_file([DEPTH | {"id": "depth"}])), partition=0, partitions=1)
        outcome = fold.apply("flood", form)
        assert (len(outcome.alerts), outcome.rejected) == (1, [])


def test_arrays_of_other_sizes_are_refused() -> None:
    whole, real, small = np.zeros(2, np.int64), np.zeros(2), np.zeros(2, np.int8)
    assert kernels.compiled is not None
    with pytest.raises(ValueError, match="an array has 8 bytes"):
        kernels.compiled.mark_used(whole, whole[:1], small, 1, 0, whole)
    with pytest.raises(IndexError):
        kernels.compiled.mark_used(whole + 2, whole, small, 1, 0, whole)
    with pytest.raises(IndexError):
        kernels.compiled.grade(whole - 1, whole, real, whole, real, real, real, small, whole, True)
