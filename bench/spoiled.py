"""Dirt: records that cannot be used, each with the reasons that its rejections must have, and what it is without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from sensors.catalogue import Catalogue, Sensor
from sensors.clock import CLOCK_KEY
from sensors.quantities import KINDS, QUANTITIES

YEAR_MS = 31_536_000_000
MEGABYTE = 1_000_000

Entry = tuple[str, str]  # a SenML record as JSON, and the reason for which it is rejected ("": it is good)

_TEXTS, _NUMBERS = ("bn", "bu", "n", "u", "vs", "vd"), ("bt", "bv", "bs", "bver", "v", "s", "t", "ut")
_WRONG = (
    dict.fromkeys(_TEXTS, ("1", "true", "null", "[]", "{}", "[[]]"))
    | dict.fromkeys(_NUMBERS, ('"1"', '""', "true", "null", "[1]", '{"v":1}'))
    | {"vb": ("1", '"true"', "null", "[]")}
)
_NO_OBJECT = ("null", "5", '"text"', "[]", "[[]]", "true", "-0.0", "1e999", "{}", '{"foo":1}')
_NO_ARRAY = (b"", b" ", b"{}", b"null", b"7", b'"x"', b"-0", b"[] []", b"[1,]", b"[,]", b"[", b"]", b"[1,2", b"\x00",
             b"['x']", b"[NaN]", b"[-Infinity]", b"[01]", b"[1.]", b"[.5]", b"[+1]", b"[0x10]", b'["\t"]', b'["\\x"]',
             b"// [1]", b"nul", b"[tru]", b'[{"n"}]', b'[{"n":}]', b"[{1:2}]", b'["\\ud8"]')  # fmt: skip
_AHEAD_MS = (601_000, 86_400_000, YEAR_MS, 100 * YEAR_MS, 7_000 * YEAR_MS)
_INFINITE = ("1e999", "-1e999", "9" * 400, "-1" + "0" * 309, "1" * 100_000, "0.1e400")
_FAR = ("1e308", "-1e308", "-1.7976931348623157e308", "4294967296", "9007199254740993", "-99", "1" + "0" * 299)
_TINY = ("0", "-0", "-0.0", "5e-324", "1e-400", "0." + "0" * 400 + "1", "0e999", "2.2250738585072011e-308")
_STRANGERS = ("nobody", "\\ud800", "\\u0000", "", " ", "ＧＺ-1", "x" * 20_000, "/" * 300, "~", "%s", "@clock", "é\\n")
_KEYS = (None, b"", b"\xff\xfe", b"nowhere", b"\x00", CLOCK_KEY, b"@clock ", b"\x01" * 20_000, "天河".encode("gb18030"))


class Spoiled(NamedTuple):
    """A record of ``readings.<kind>``: how often each reason must come of it, and what it is without its dirt."""

    kind: str
    key: bytes | None
    value: bytes | None
    reasons: Counter[str]
    clean: bytes | None = None


def pack(entries: list[str]) -> bytes:
    return ("[" + ",".join(entries) + "]").encode()


def entry(name: str, time_ms: float, value: str) -> str:
    return f'{{"n":"{name}","t":{time_ms / 1000:.3f},"v":{value}}}'


class Dirt:
    """Makes spoiled records for a catalogue under the shipped limits; all sensors must have reported before."""

    def __init__(self, catalogue: Catalogue, seed: int) -> None:
        self.rng = Random(seed)
        self.sensors = {kind: [s for s in catalogue.sensors.values() if s.kind == kind] for kind in KINDS}

    def record(self, kind: str, now: int) -> Spoiled:
        """A small record that holds nothing but dirt."""
        luck, sensor = self.rng.random(), self.rng.choice(self.sensors[kind])
        if luck < 0.35:
            bad = [self.bad(sensor, now) for _ in range(self.rng.choice((1, 1, 1, 3, 12)))]
            return self._of(kind, sensor.zone.encode(), bad)
        if luck < 0.75:
            value = self._broken(sensor, now)
            return Spoiled(kind, self.rng.choice((sensor.zone.encode(), None, CLOCK_KEY)), value, Counter(malformed=1))
        good = self.good(sensor, now, "0")
        if luck < 0.85:
            key = self.rng.choice(_KEYS)
            return self._of(kind, key, [(good, "wrong_zone")] * self.rng.choice((1, 1, 5)))
        if luck < 0.92:
            other = self.rng.choice([k for k in KINDS if k != kind])
            return self._of(other, sensor.zone.encode(), [(good, "wrong_quantity")])
        return self._clock(kind, now)

    def spoil(self, kind: str, zone: str, good: list[str], now: int) -> Spoiled:
        """A pack of good readings with bad ones between them."""
        entries = [(one, "") for one in good]
        own = [s for s in self.sensors[kind] if s.zone == zone]
        for _ in range(self.rng.choice((1, 1, 2, 10))):
            entries.insert(self.rng.randint(0, len(entries)), self.bad(self.rng.choice(own), now))
        return self._of(kind, zone.encode(), entries)

    def bad(self, sensor: Sensor, now: int) -> Entry:
        """One reading in the sensor's zone that cannot be used."""
        rng, quantities = self.rng, QUANTITIES[sensor.kind]
        quantity = rng.choice(list(quantities))
        fields = {"n": f'"{sensor.id}/{quantity}"', "t": f"{now / 1000:.3f}", "v": "0"}
        reason = rng.choice(("malformed", "malformed", "unknown_sensor", "wrong_quantity", "out_of_range", "future"))
        if reason == "malformed":
            luck = rng.random()
            if luck < 0.2:
                return rng.choice(_NO_OBJECT), reason
            if luck < 0.3:
                fields |= {"t": rng.choice(("5", "-1", "-1e999", "268435455.999", "0", "-" + fields["t"]))}
            elif luck < 0.4:
                del fields[rng.choice(("n", "t", "v"))]
            elif luck < 0.5:
                fields["n"] = rng.choice(('"depth"', '""', '"\\u0000"', '"' + "x" * 5_000 + '"'))
            else:
                field = rng.choice(list(_WRONG))
                fields[field] = rng.choice(_WRONG[field])
                if luck > 0.9:  # of a field that is there twice the last one counts
                    return _object({field: fields[field]} | fields).replace("{", f'{{"{field}":0,', 1), reason
        elif reason == "unknown_sensor":
            fields["n"] = f'"{rng.choice(_STRANGERS)}{rng.randint(0, 99_999)}/{quantity}"'
        elif reason == "wrong_quantity":
            luck = rng.random()
            if luck < 0.4:
                fields["n"] = f'"{sensor.id}/{rng.choice(("", "nothing", "Depth", "x" * 999, quantity + " "))}"'
            elif luck < 0.6 and sensor.kind != "infrared":
                fields["u"] = rng.choice(('"cm"', '""', '"M"', '"\\u0000"', '"' + "m" * 3_000 + '"'))
            else:
                del fields["v"]
                words = ("vs", "vd") if sensor.kind == "infrared" else ("vs", "vd", "vb")
                field = rng.choice(words)
                fields[field] = rng.choice(("true", "false")) if field == "vb" else '"0.5"'
        elif reason == "out_of_range":
            fields["v"] = rng.choice(_INFINITE if sensor.kind == "infrared" else _INFINITE + _FAR)
        else:
            ahead = [f"{(now + by) / 1000:.3f}" for by in _AHEAD_MS]
            fields["t"] = rng.choice([*ahead, "253402300800", "1e300", "1e999", "9" * 50])
        if rng.random() < 0.1:
            fields["more"] = rng.choice(("[[[[1]]]]", '{"a":{"b":null}}', '"\\udfff"', "1" * 25, "1e999"))
        return _object(fields), reason

    def good(self, sensor: Sensor, time_ms: float, value: str) -> str:
        """One reading that can be used, also where it is as small as floats can be."""
        value = self.rng.choice(_TINY) if value == "0" else value
        return entry(f"{sensor.id}/{next(iter(QUANTITIES[sensor.kind]))}", time_ms, value)

    def giants(self, kind: str, now: int) -> Iterator[Spoiled]:
        """The large ones: packs of 10 MB, 100,000 sensors that nobody knows, brackets 100,000 deep, long names."""
        sensor = self.rng.choice(self.sensors[kind])
        zone, name = sensor.zone.encode(), f"{sensor.id}/{next(iter(QUANTITIES[kind]))}"
        late = entry(name, now - YEAR_MS, "0")  # nobody uses it any more, but it is not bad
        count = 10 * MEGABYTE // (len(late) + 1)
        yield self._of(kind, zone, [(late, "")] * count)
        one_bad = [(late, "")] * 100_000
        one_bad[self.rng.randrange(100_000)] = self.bad(sensor, now)
        yield self._of(kind, zone, one_bad)
        yield self._of(kind, zone, [("1", "malformed")] * 300_000)
        strangers = [(entry(f"S{n}/{n}", now, "0"), "unknown_sensor") for n in range(100_000)]
        yield self._of(kind, zone, strangers)
        first = f'{{"bn":"{"x" * 100_000}","bt":{now / 1000},"bu":"{"m" * 100_000}","n":"/y","v":0}}'
        long_names = pack([first] + ['{"n":"/y","v":0}'] * 19_999)
        yield Spoiled(kind, zone, long_names, Counter(unknown_sensor=20_000))
        yield self._of(kind, b"\x01" * 50_000, [(late, "wrong_zone")] * 2_000)
        for deep in (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'[{"a":' * 100_000, b'{"a":' * 100_000):
            yield Spoiled(kind, zone, deep, Counter(malformed=1))
        yield Spoiled(kind, zone, b'[{"n":"%s"}]' % (b"\\ud800" * (10 * MEGABYTE // 6)), Counter(malformed=1))
        for depth in (101, 500, 900, 990):  # about as deep as Python gets
            deep_field = f'{{"n":"nobody/x","t":{now / 1000},"v":0,"more":{"[" * depth}{"]" * depth}}}'
            yield Spoiled(kind, zone, pack([deep_field]), Counter(malformed=1))

    def _broken(self, sensor: Sensor, now: int) -> bytes | None:
        """A value that is no SenML at all; many were good packs once."""
        rng = self.rng
        good = pack([self.good(sensor, now + n, "0.1") for n in range(rng.choice((1, 3, 20)))])
        at = rng.randrange(len(good))
        return rng.choice(
            (
                lambda: good[:at],
                lambda: good[:at] + bytes([good[at] | 0x80]) + good[at + 1 :],
                lambda: good[:at] + rng.choice((b"\x00", b"\x1f", b"\xff", b"\xc0\x80", b"\xed\xa0\x80")) + good[at:],
                lambda: good[at:] + good[:at] if at else good[1:],
                lambda: good.decode().encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig"))),
                lambda: '[{"n":"积水/depth"}]'.encode("gb18030"),
                lambda: b"\xff" + rng.randbytes(rng.randint(0, 200)),
                lambda: rng.choice(_NO_ARRAY),
                lambda: rng.choice((b"[", b'{"a":', b'[{"a":[')) * rng.choice((50, 500, 5_000)),
                lambda: None,
            )
        )()

    def _clock(self, kind: str, now: int) -> Spoiled:
        """Ticks years ahead are rejected, years behind mean nothing, and garbage is garbage."""
        ahead = [(f'{{"n":"@clock","t":{(now + by) / 1000:.3f}}}', "future") for by in (60_001, *_AHEAD_MS)]
        ahead += [(f'{{"n":"@clock","t":{t}}}', "future") for t in ("253402300800", "1e300", "1e999")]
        behind = [(f'{{"n":"@clock","t":{(now - by) / 1000:.3f}}}', "") for by in (0, 1, *_AHEAD_MS[:3])]
        bad = [(f'{{"n":"@clock"{more}}}', "malformed") for more in ("", ',"t":5', ',"t":"x"', ',"t":null', ',"v":1')]
        return self._of(kind, CLOCK_KEY, self.rng.choices(ahead + behind + bad, k=self.rng.choice((1, 1, 4))))

    def _of(self, kind: str, key: bytes | None, entries: list[Entry]) -> Spoiled:
        reasons = Counter(reason for _, reason in entries if reason)
        good = [text for text, reason in entries if not reason]
        return Spoiled(kind, key, pack([text for text, _ in entries]), reasons, pack(good) if good else None)


def _object(fields: dict[str, str]) -> str:
    return "{" + ",".join(f'"{field}":{value}' for field, value in fields.items()) + "}"
