"""The catalogue laid out for the fold: sensors and places of its zones as numbered rows, those of a zone together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np

from sensors.catalogue import Catalogue, Place, Sensor
from sensors.quantities import KINDS, QUANTITIES


class Sites:
    """An ordered list of sites (sensors or places); ``of_zone`` says which rows are a zone's."""

    def __init__(self, sites: Iterable[Sensor | Place], zones: dict[str, int]) -> None:
        self.all = sorted(sites, key=lambda site: (zones[site.zone], site.id))
        self.row = {site.id: row for row, site in enumerate(self.all)}
        self.zone = np.array([zones[site.zone] for site in self.all], np.int32)
        edges = np.searchsorted(self.zone, np.arange(len(zones) + 1)).tolist()
        self.of_zone = [slice(a, b) for a, b in pairwise(edges)]

    def __len__(self) -> int:
        return len(self.all)


class KindRoster:
    """The sensors of one kind. A channel is one quantity of one sensor: sensor × quantities + quantity."""

    def __init__(self, kind: str, sensors: Iterable[Sensor], zones: dict[str, int]) -> None:
        self.kind = kind
        self.sensors = Sites(sensors, zones)
        self.quantities = list(QUANTITIES[kind])
        count = len(self.quantities)
        self.channel = {
            f"{sensor.id}/{quantity}": row * count + q
            for row, sensor in enumerate(self.sensors.all)
            for q, quantity in enumerate(self.quantities)
        }
        self.channel_zone = np.repeat(self.sensors.zone, count)


class Roster:
    """The part of a catalogue that one fold looks after: all of it, or the zones that ``wanted`` picks."""

    def __init__(self, catalogue: Catalogue, wanted: Callable[[str], bool]) -> None:
        self.catalogue = catalogue
        self.zones = [zone for zone in catalogue.zones if wanted(zone)]
        self.zone = {zone: number for number, zone in enumerate(self.zones)}
        sensors = [s for s in catalogue.sensors.values() if s.zone in self.zone]
        self.kinds = {kind: KindRoster(kind, (s for s in sensors if s.kind == kind), self.zone) for kind in KINDS}
        self.places = [p for p in catalogue.places.values() if p.zone in self.zone]

    def places_with(self, kind: str) -> Sites:
        """The places that have a sensor of this kind."""
        used = {sensor.place for sensor in self.kinds[kind].sensors.all if isinstance(sensor, Sensor)}
        return Sites((p for p in self.places if p.id in used), self.zone)
