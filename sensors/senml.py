"""SenML packs (RFC 8428): one JSON array of records, whose base fields carry over to the records after them.

``resolve`` reads a pack record by record and gives a reason for each that cannot be used; ``columns`` reads
clean packs at once, and gives up (``None``) on anything out of the ordinary, which is then ``resolve``'s to judge.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import accumulate, chain
from operator import add
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from sensors.quantities import QUANTITIES

CLOCK_NAME = "@clock"
ABSOLUTE_FROM = 2.0**28  # seconds; RFC 8428 section 4.5.3: smaller times are relative to now
END_OF_TIME = 253_402_300_800_000  # ms; the year 10000, past which no calendar date can be written
_BASE = ("bn", "bt", "bu", "bv", "bs", "bver")
_OWN = ("n", "u", "v", "vs", "vb", "vd", "s", "t", "ut")
_NUMBERS = frozenset(("bt", "bv", "bs", "bver", "v", "s", "t", "ut"))
_FIELDS = frozenset(_BASE + _OWN)
_DEEPEST = 100  # arrays and objects within each other in a record that is read
_LONGEST = 256  # characters of a name or a unit that are looked at
_NOT_MARKS = bytes(set(range(256)) - set(b'[]{}"'))


class Malformed(ValueError):
    """A record or a reading that is not SenML; the message says what is wrong with it."""


class Reading(NamedTuple):
    """A resolved SenML record. ``value`` is a float, or whatever ``vs``, ``vb``, ``vd`` held."""

    name: str
    unit: str | None
    time_ms: int
    value: float | str | bool


class _Entry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    bn: str | UnsetType = UNSET
    bt: float | UnsetType = UNSET
    bu: str | UnsetType = UNSET
    bv: float | UnsetType = UNSET
    n: str | UnsetType = UNSET
    u: str | UnsetType = UNSET
    t: float | UnsetType = UNSET
    v: float | UnsetType = UNSET
    vb: bool | UnsetType = UNSET


class Columns(NamedTuple):
    """Clean packs, column by column, a row a reading.

    ``times`` in s, ``sizes`` the number of readings of each pack, ``units`` as written (None: none was),
    ``truths`` whether the values came as ``vb``.
    """

    names: list[str]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    sizes: NDArray[np.int64]
    units: set[str | None]
    truths: bool


_decode_packs = msgspec.json.Decoder(list[list[_Entry]]).decode


def columns(packs: list[bytes]) -> Columns | None:
    """The columns of clean packs, or None where ``resolve`` has to look at them.

    They are read as one text. With exactly one bracket pair in each, as many packs come out as went in only if
    each stood by itself, so none can borrow from its neighbour.
    """
    if {p[:1] for p in packs} != {b"["} or {p[-1:] for p in packs} != {b"]"}:
        return None
    text = b",".join(packs)
    if text.count(b"[") != len(packs) or text.count(b"]") != len(packs):
        return None
    try:
        decoded = _decode_packs(b"[" + text + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    sizes = list(map(len, decoded))
    if len(sizes) != len(packs) or not all(sizes):
        return None
    entries = list(chain.from_iterable(decoded))
    count = len(entries)
    names: list[Any] = [e.n for e in entries]
    if UNSET in names:
        return None
    v, vb = [e.v for e in entries], [e.vb for e in entries]
    bv = _carried([e.bv for e in entries], sizes, 0.0)
    truths = vb.count(UNSET) < count
    if truths:
        if UNSET in vb or bv is not None or v.count(UNSET) < count:
            return None
        values = np.array(vb, np.float64)
    elif UNSET in v:
        return None
    else:
        values = np.array(v, np.float64)
        if bv is not None:
            values += np.array(bv, np.float64)
    bn = _carried([e.bn for e in entries], sizes, "")
    if bn is not None:
        if max(map(len, bn)) > _LONGEST:
            return None
        names = list(map(add, bn, names))
    times = np.zeros(count)
    bt = _carried([e.bt for e in entries], sizes, 0.0)
    if bt is not None:
        times += np.array(bt, np.float64)
    t = [e.t for e in entries]
    if t.count(UNSET) < count:
        times += np.array([0.0 if x is UNSET else x for x in t], np.float64)
    if times.min() < ABSOLUTE_FROM or not np.isfinite(times).all():
        return None
    units = {e.u for e in entries}
    bu = _carried([e.bu for e in entries], sizes, UNSET)
    if bu is not None:
        units = {b if e.u is UNSET else e.u for b, e in zip(bu, entries, strict=True)}
    return Columns(names, times, values, np.array(sizes), {None if x is UNSET else x for x in units}, truths)


def _carried(column: list[Any], sizes: list[int], empty: Any) -> list[Any] | None:
    """A base field's value at each record of each pack; None where no record sets it."""
    unset = column.count(UNSET)
    if unset == len(column):
        return None
    if not unset:
        return column
    if unset == len(column) - len(sizes):  # nearly always: set by the first record of each pack, and only there
        starts = [0, *accumulate(sizes)][:-1]
        firsts = [column[i] for i in starts]
        if UNSET not in firsts:
            return [x for x, size in zip(firsts, sizes, strict=True) for _ in range(size)]
    carried, row = [], iter(column)
    for size in sizes:
        current = empty
        for _ in range(size):
            x = next(row)
            current = current if x is UNSET else x
            carried.append(current)
    return carried


def load(pack: bytes | None) -> list[Any]:
    """The JSON array of a pack, unread; Malformed where it is none."""
    if pack is None:
        raise Malformed("the record has no value")
    try:
        text = pack.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error.reason} at byte {error.start}") from None
    if pack.count(b"[") + pack.count(b"{") > _DEEPEST and _depth(pack) > _DEEPEST:
        raise Malformed(f"not JSON that can be read: nested more than {_DEEPEST} deep")
    try:
        array = json.loads(text, parse_constant=_no_constant, parse_int=_integer)
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(array, list):
        raise Malformed(f"not an array but {_json_type(array)}")
    return array


def _depth(pack: bytes) -> int:
    """How deep a text's brackets are nested, those in strings left out.

    Counted, not tried: how deep Python's own parser gets depends on who calls it, and a reading may not.
    """
    if b"\\" in pack:
        pack = pack.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(pack.translate(None, _NOT_MARKS), np.uint8)
    step = np.where((marks == ord("[")) | (marks == ord("{")), 1, -1)
    quote = marks == ord('"')
    step[quote | (np.cumsum(quote) % 2 == 1)] = 0
    return int(np.cumsum(step).max(initial=0))


def resolve(array: list[Any], clock: bool = False) -> list[tuple[Any, Reading | Malformed]]:
    """Each SenML record that is a reading, with what it resolves to or what is wrong with it.

    A malformed record's base fields are ignored; a record of base fields alone just sets them.
    ``clock``: a name of CLOCK_NAME, with a time and no more, will do too.
    """
    base: dict[str, Any] = {}
    readings: list[tuple[Any, Reading | Malformed]] = []
    faults: dict[str, Malformed] = {}  # a pack may hold a million that are bad in the same way
    for record in array:
        try:
            fields = _checked(record)
            own = [field for field in fields if field in _OWN]
            merged = {**base, **{f: fields[f] for f in fields if f in _BASE}}
            if own or not fields:
                readings.append((record, _reading(merged, fields, clock)))
            base = merged
        except Malformed as error:
            readings.append((record, faults.setdefault(str(error), error.with_traceback(None))))
    return readings


def _checked(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise Malformed(f"not an object but {_json_type(record)}")
    fields = {field: value for field, value in record.items() if field in _FIELDS}
    for field, value in fields.items():
        if field in _NUMBERS:
            fine, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        elif field == "vb":
            fine, wanted = isinstance(value, bool), "true or false"
        else:
            fine, wanted = isinstance(value, str), "a string"
            if fine and field not in ("vs", "vd"):
                fields[field] = _short(value)
        if not fine:
            raise Malformed(f"`{field}` is {_json_type(value)}, not {wanted}")
    return fields


def _short(text: str) -> str:
    """A name or a unit; cut where it is longer than any known one, for a pack may give it to all of its readings.

    What is left is judged as the whole would be: no id has a `~`.
    """
    return text if len(text) <= _LONGEST else text[:_LONGEST] + ("~/" if "/" in text[_LONGEST:] else "~")


def _reading(base: dict[str, Any], own: dict[str, Any], clock: bool) -> Reading:
    name = base.get("bn", "") + own.get("n", "")
    given = [own[field] for field in ("v", "vb", "vs", "vd") if field in own]
    time = float(base.get("bt", 0.0)) + float(own.get("t", 0.0))
    if not time >= ABSOLUTE_FROM:
        raise Malformed("has no absolute time: `bt` + `t` is to be in seconds since 1970")
    if not (clock and name == CLOCK_NAME):
        if not given:
            raise Malformed("has no value")
        if "/" not in name:
            raise Malformed(f"the name {name!r} has no `/`: it is <sensor id>/<quantity>")
    value = given[0] if given else 0.0
    if "v" in own:
        value = float(own["v"]) + float(base["bv"]) if "bv" in base else float(own["v"])
    unit = own.get("u", base.get("bu"))
    return Reading(name, unit, to_ms(time), value)


def to_ms(seconds: float) -> int:
    """Milliseconds since the epoch, rounded; no more than END_OF_TIME."""
    return END_OF_TIME if seconds * 1000.0 >= END_OF_TIME else round(seconds * 1000.0)


def latest_time(pack: bytes | None, clock: bool = False) -> int | None:
    """The largest absolute time in a pack, in ms (None: it has none); times past the year 9999 do not count."""
    found = _latest_of_clean(pack) if pack else None
    if found is not None:
        return found
    try:
        readings = resolve(load(pack), clock)
    except Malformed:
        return None
    times = [r.time_ms for _, r in readings if isinstance(r, Reading) and r.time_ms < END_OF_TIME]
    return max(times, default=None)


def latest_of_clean(pack: bytes) -> int | None:
    """What ``latest_time`` is to give for a clean pack; None where ``resolve`` has to look."""
    clean = columns([pack])
    if clean is None or not all("/" in name for name in clean.names):
        return None
    times = np.minimum(np.rint(clean.times * 1000.0), float(END_OF_TIME))
    return int(times.max()) if times.max() < END_OF_TIME else None


try:
    from sensors._packs import latest_time as _latest_of_clean
except ImportError:
    _latest_of_clean = latest_of_clean


def encode(readings: Iterable[tuple[str, str, int, float | bool]]) -> bytes:
    """A compact pack of (sensor id, quantity, time in ms, value): truth values for infrared, else numbers."""
    pack: list[dict[str, Any]] = []
    for sensor, quantity, time_ms, value in readings:
        entry: dict[str, Any] = {"n": f"{sensor}/{quantity}"}
        if not pack:
            entry["bt"] = base_ms = time_ms // 1000 * 1000
            entry["bt"] //= 1000
        if time_ms != base_ms:
            after = time_ms - base_ms
            entry["t"] = after // 1000 if after % 1000 == 0 else after / 1000
        entry["vb" if quantity in QUANTITIES["infrared"] else "v"] = (
            bool(value) if quantity in QUANTITIES["infrared"] else value
        )
        pack.append(entry)
    return msgspec.json.encode(pack)


def as_json(value: Any) -> bytes:
    """A SenML record as JSON again; what JSON cannot write (infinities, lone surrogates) is made readable."""
    return msgspec.json.encode(_writable(value))


def _writable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_writable(k): _writable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_writable(v) for v in value]
    if isinstance(value, float) and math.isinf(value):
        return msgspec.Raw(b"1e999" if value > 0 else b"-1e999")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode() if not value.isascii() else value
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 300 else float(text)


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "an object", list: "an array", str: "a string", int: "a number", float: "a number"}
    return kinds.get(type(value), "something else")
