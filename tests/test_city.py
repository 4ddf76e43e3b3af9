"""The shipped catalogue: made from a seed, as large as it says, and as the catalogue's rules want it."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec.structs import replace

from alerts.rulebook import Rulebook
from sensors import city
from sensors.catalogue import SHIPPED, Catalogue
from sensors.errors import InputError


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.shipped()


def test_it_is_what_the_generator_makes() -> None:
    assert SHIPPED.read_bytes() == city.geojson()
    assert city.geojson(1) == city.geojson(1) != city.geojson(2)


def test_it_is_as_large_as_it_says(catalogue: Catalogue) -> None:
    kinds = Counter(sensor.kind for sensor in catalogue.sensors.values())
    assert kinds["flood"] == 495
    assert kinds["rain"] == 395
    assert len({site.district for site in catalogue.places.values()}) == 11
    assert SHIPPED.stat().st_size < 900_000


def test_names_of_flood_points_are_unique(catalogue: Catalogue) -> None:
    names = [sensor.name for sensor in catalogue.sensors.values() if sensor.kind == "flood"]
    assert len(set(names)) == len(names)


def test_every_catchment_has_gauges_a_rain_station_and_a_water_balance(catalogue: Catalogue) -> None:
    catchments = [place for place in catalogue.places.values() if place.kind == "flood"]
    kinds = {(s.place, s.kind) for s in catalogue.sensors.values()}
    for place in catchments:
        assert {(place.id, "flood"), (place.id, "rain")} <= kinds
        assert place.zone == place.id
        assert 0 < place.runoff < 1
        for length in (place.area_km2, place.interception_mm, place.storage_mm, place.drainage_mm_h):
            assert length > 0
        assert place.hollow_ratio > 1


def test_venues_have_room_and_counters(catalogue: Catalogue) -> None:
    counters = Counter(s.place for s in catalogue.sensors.values() if s.kind == "crowd")
    venues = {p.name: p for p in catalogue.places.values() if p.kind == "crowd"}
    assert {"广州南站", "广州站", "广州东站", "白云机场"} <= venues.keys()
    assert all(place.capacity >= 1000 for place in venues.values())
    segments = [place for place in venues.values() if "马拉松" in place.name]
    assert len(segments) == 14
    assert all(counters[place.id] == 2 for place in segments)
    assert all(counters[place.id] > 2 for place in venues.values() if place not in segments)


def test_a_home_tells_nobody_who_lives_there(catalogue: Catalogue) -> None:
    homes = [place for place in catalogue.places.values() if place.kind == "infrared"]
    assert len(homes) == 300
    assert len({home.zone for home in homes}) == 30
    points = {}
    for home in homes:
        assert home.name == home.id
        rooms = {s.room: s for s in catalogue.sensors.values() if s.place == home.id}
        assert set(rooms) == {"bed", "living", "bathroom", "entrance", "call"}
        # all points of a community are one, its centre
        for site in (home, *rooms.values()):
            assert points.setdefault(home.zone, (site.lon, site.lat)) == (site.lon, site.lat)


def test_the_shipped_rules_fit_it(catalogue: Catalogue) -> None:
    rulebook = Rulebook.shipped()
    rulebook.check(catalogue)
    assert rulebook.warnings(catalogue) == []
    overridden = {r for s in (*catalogue.sensors.values(), *catalogue.places.values()) for r in s.overrides}
    assert overridden == {"flood-depth", "home-dwell", "crowd-occupancy"}


def test_rules_that_fit_one_catalogue_are_held_against_another_all_the_same(catalogue: Catalogue) -> None:
    rulebook = Rulebook.shipped()
    rulebook.check(catalogue)
    venue = next(place for place in catalogue.places.values() if place.capacity)
    without = Catalogue(catalogue.sensors, catalogue.places | {venue.id: replace(venue, capacity=None)}, b"")
    for _ in range(2):
        with pytest.raises(InputError, match=f"{venue.id} has no `capacity`"):
            rulebook.check(without)
