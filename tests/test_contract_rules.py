"""What the rules say, type by type."""

from __future__ import annotations

from decimal import Decimal

from examples import CALL, CATCHMENT, DEAD, DEPTH, STEP, ms, readings, series, sites, tick
from strategies import collection, feature

pytest_plugins = ["examples"]


# The level step


def test_hysteresis_holds_a_level_until_x_is_below_c_minus_h(changes):
    rule = DEPTH | {"hysteresis": 0.03}
    values = [0.2, 0.17, 0.169999, 0.199, 0.07, 0.0699994, 0.09]
    lines = [readings((ms("05:00") + i * 60_000, "F1/depth", value)) for i, value in enumerate(values)]
    assert changes(lines, rule) == [
        "05:00:00 F1 0>2 0.2/0.2",
        "05:02:00 F1 2>1 0.169999/0.2",
        "05:05:00 F1 1>0 0.069999/0.1",
    ]


def test_numbers_are_compared_after_rounding_to_6_decimals(changes):
    rule = DEPTH | {"levels": {"red": 0.3}, "hysteresis": 0.1}
    lines = series("F1/depth", ("05:00", 0.2999994), ("05:01", 0.1 + 0.2), ("05:02", 0.1999996), ("05:03", 0.1999994))
    assert changes(lines, rule) == ["05:01:00 F1 0>4 0.3/0.3", "05:03:00 F1 4>0 0.199999/0.3"]


def test_it_is_the_number_itself_that_is_rounded(changes):
    # As decimals all end in a 5; as the floats that they are, they lie beside the middle, on either side of it.
    values = [0.3000005, 0.3000015, 0.3000025, 0.3000035, 0.3000045, 0.3000055]
    lines = [
        line
        for n, v in enumerate(values)
        for line in series("F1/depth", (f"05:{2 * n:02}", v), (f"05:{2 * n + 1:02}", 0))
    ]
    rounded = [float(Decimal(v).quantize(Decimal("0.000001"))) for v in values]
    found = [float(c.split()[3].split("/")[0]) for c in changes(lines, DEPTH | {"levels": {"red": 0.3}})]
    assert found[::2] == rounded


def test_a_sites_overrides_replace_the_whole_table(changes):
    catalogue = sites({"F2": {"rule": {"orange": 0.5}}})
    lines = series("F1/depth", ("05:00", 0.6)) + series("F2/depth", ("05:00", 0.4), ("05:01", 0.5))
    assert changes(lines, DEPTH, catalogue=catalogue) == ["05:00:00 F1 0>4 0.6/0.27", "05:01:00 F2 0>3 0.5/0.5"]


def test_level_for_needs_every_reading_of_a_run_that_long(changes):
    rule = DEPTH | {"for": "2m"}
    lines = series(
        "F1/depth", ("05:00", 0.1), ("05:01", 0.25), ("05:01:59.999", 0.3), ("05:02", 0.25), ("05:03", 0.3),
        ("05:04", 0.19), ("05:05", 0.3), ("05:06", 0.3), ("05:07", 0.3),
    )  # fmt: skip
    assert changes(lines, rule) == [
        "05:02:00 F1 0>1 0.25/0.1",
        "05:03:00 F1 1>2 0.3/0.2",
        "05:04:00 F1 2>1 0.19/0.2",
        "05:07:00 F1 1>4 0.3/0.27",
    ]


def test_rise_is_against_the_smallest_reading_of_the_window(changes):
    rule = DEPTH | {"type": "rise", "window": "10m", "levels": {"yellow": 0.2}}
    lines = series("F1/depth", ("05:00", 0.1), ("05:05", 0.2), ("05:10", 0.3), ("05:10:00.001", 0.3), ("05:20", 0.5))
    assert changes(lines, rule) == [
        "05:10:00 F1 0>2 0.2/0.2",
        "05:10:00.001 F1 2>0 0.1/0.2",
        "05:20:00 F1 0>2 0.2/0.2",
    ]


# window_sum

STORM = {"type": "window_sum", "kind": "rain", "quantity": "rain", "hysteresis": 0.5,
         "levels": {"blue": {"window": "3m", "sum": 1}, "red": {"window": "2m", "sum": 2}}}  # fmt: skip


def test_a_windows_sum_is_of_whole_minutes_and_falls_when_the_clock_passes_them(changes):
    lines = series("R1/rain", ("05:00:59", 0.6), ("05:01", 0.4), ("05:02:30", 1.6))
    assert changes(lines, STORM) == [
        "05:01:00 R1 0>1 1/1",
        "05:02:30 R1 1>4 2/2",  # 05:01 and 05:02
        "05:04:00 R1 4>1 0/2",  # 05:03 and 05:04; blue still has 05:02
        "05:05:00 R1 1>0 0/1",
    ]


def test_a_sum_falls_at_the_minute_even_if_a_reading_shows_it(changes):
    lines = [*tick("04:59"), *series("R1/rain", ("05:00", 1), ("05:07:30", 0))]
    assert changes(lines, STORM) == ["05:00:00 R1 0>1 1/1", "05:03:00 R1 1>0 0/1"]


def test_a_sum_of_tenths_is_exact(changes):
    rule = STORM | {"levels": {"red": {"window": "15m", "sum": 1}}}
    lines = [readings((ms("05:00") + i * 60_000, "R1/rain", 0.1)) for i in range(10)]
    assert changes(lines, rule, until=None) == ["05:09:00 R1 0>4 1/1"]


def test_a_late_reading_counts_only_where_its_minute_has_nothing(changes):
    rule = STORM | {"levels": {"red": {"window": "15m", "sum": 2}}}
    lines = series("R1/rain", ("05:00:30", 0.5), ("05:03:30", 0.5))
    again = series("R1/rain", ("05:00:30", 0.5), ("05:00:10", 0.5), ("05:03", 0.5))
    assert changes(lines + again, rule, until=None) == []
    lost = series("R1/rain", ("05:02", 1), ("05:02:30", 5))  # the second finds the first
    assert changes(lines + again + lost, rule, until=None) == ["05:03:30 R1 0>4 2/2"]
    nothing = series("R1/rain", ("05:02", 0), ("05:02:30", 5))  # 0 is not nothing
    assert changes(lines + nothing, rule, until=None) == []


def test_per_place_adds_up_the_stations_and_ignores_late_readings(changes):
    rule = STORM | {"per": "place", "levels": {"red": {"window": "15m", "sum": 2}}}
    lines = series("R1/rain", ("05:03", 1)) + series("R2/rain", ("05:01", 0.5))
    assert changes(lines + series("R1/rain", ("05:02", 5)), rule, until=None) == []
    # In order for its station, and behind what the rule has used: the alert is not before that.
    assert changes(lines + series("R2/rain", ("05:02", 0.5)), rule, until=None) == ["05:03:00 CATCH 0>4 2/2"]


def test_a_reading_behind_the_clock_is_summed_in_the_clocks_window(changes):
    lines = [*tick("05:03"), *series("R1/rain", ("05:00:30", 5))]
    assert changes(lines, STORM) == []
    assert changes([*tick("05:02:59"), *series("R1/rain", ("05:00:30", 1.5)), *tick("05:10")], STORM) == [
        "05:00:30 R1 0>1 1.5/1",
        "05:03:00 R1 1>0 0/1",
    ]


# dwell

BATH = {
    "type": "dwell",
    "kind": "infrared",
    "rooms": {"bathroom": {"orange": "1h"}, "living": {"orange": "3h", "red": "5h"}},
}


def test_a_stay_runs_from_its_first_motion_until_motion_elsewhere(changes):
    lines = series("Bath/motion", ("05:00", 1), ("05:30", 1), ("06:30", 0)) + series("Living/motion", ("06:45", 1))
    assert changes(lines, BATH, until="07:00") == ["06:00:00 HOME 0>3 3600/3600", "06:45:00 HOME 3>0 6300/3600"]


def test_two_levels_of_a_room(changes):
    lines = series("Living/motion", ("05:00", True)) + series("Bed/motion", ("11:00", True))
    assert changes(lines, BATH, until="11:00") == [
        "08:00:00 HOME 0>3 10800/10800",
        "10:00:00 HOME 3>4 18000/18000",
        "11:00:00 HOME 4>0 21600/18000",
    ]


def test_a_timer_is_due_before_the_reading_of_its_own_time(changes):
    lines = [*series("Bath/motion", ("05:00", 1)), *series("Bed/motion", ("06:00", 1)), *tick("06:00")]
    assert changes(lines, BATH) == ["06:00:00 HOME 0>3 3600/3600", "06:00:00 HOME 3>0 3600/3600"]


def test_motion_elsewhere_and_back_at_one_time_is_a_new_stay(changes):
    both = readings(("05:30", "Bed/motion", 1), ("05:30", "Bath/motion", 1))
    lines = [*series("Bath/motion", ("05:00", 1)), both]
    assert changes(lines, BATH, until="07:00") == ["06:30:00 HOME 0>3 3600/3600"]
    lines = [*series("Bath/motion", ("04:00", 1)), both]
    assert changes(lines, BATH, until="06:00") == ["05:00:00 HOME 0>3 3600/3600", "05:30:00 HOME 3>0 5400/3600"]


def test_a_motion_earlier_than_the_homes_last_is_ignored(changes):
    lines = series("Bath/motion", ("05:00", 1), ("05:10", 1)) + series("Bed/motion", ("05:05", 1))
    assert changes(lines, BATH, until="06:00") == ["06:00:00 HOME 0>3 3600/3600"]


def test_grace_delays_what_a_tick_shows_but_not_its_time(changes):
    lines = [*series("Bath/motion", ("05:00", 1)), *tick("06:00:29")]
    assert changes(lines, BATH, grace="30s") == []
    assert changes([*lines, *tick("06:00:30")], BATH, grace="30s") == ["06:00:00 HOME 0>3 3600/3600"]


def test_nobody_is_in_after_a_motion_at_the_door(changes):
    rule = BATH | {"away_room": "entrance", "rooms": BATH["rooms"] | {"entrance": {"red": "10m"}}}
    lines = [*series("Bath/motion", ("05:00", 1)), *series("Door/motion", ("06:10", 1))]
    assert changes(lines, rule, until="09:00") == ["06:00:00 HOME 0>3 3600/3600", "06:10:00 HOME 3>0 4200/3600"]
    lines += series("Bath/motion", ("07:00", 1))
    assert changes(lines, rule, until="09:00")[2:] == ["08:00:00 HOME 0>3 3600/3600"]


RETURN = {"away_room": "entrance", "away_return": {"motions": 3, "within": "10m"}}


def test_phantom_motions_of_an_empty_home_are_ignored(changes):
    door = series("Door/motion", ("05:00", 1))
    two = series("Bath/motion", ("05:10", 1), ("05:15", 1))
    assert changes(door + two, BATH | RETURN, until="08:00") == []
    # The window is (t - 10m, t]: 05:10 is out of it at 05:20.
    third = series("Bath/motion", ("05:20", 1))
    assert changes(door + two + third, BATH | RETURN, until="08:00") == []
    fourth = series("Bath/motion", ("05:24:59", 1))
    assert changes(door + two + third + fourth, BATH | RETURN, until="08:00") == ["06:24:59 HOME 0>3 3600/3600"]


def test_the_last_of_the_returning_motions_starts_the_stay_in_its_room(changes):
    lines = series("Door/motion", ("05:00", 1)) + series("Bed/motion", ("05:10", 1), ("05:11", 1))
    lines += series("Bath/motion", ("05:12", 1))
    assert changes(lines, BATH | RETURN, until="08:00") == ["06:12:00 HOME 0>3 3600/3600"]


def test_a_motion_at_the_door_clears_the_count(changes):
    lines = series("Door/motion", ("05:00", 1)) + series("Bath/motion", ("05:10", 1), ("05:11", 1))
    lines += series("Door/motion", ("05:12", 1)) + series("Bath/motion", ("05:13", 1), ("05:14", 1))
    assert changes(lines, BATH | RETURN, until="08:00") == []


# inactivity

QUIET = {"type": "inactivity", "kind": "infrared", "levels": {"yellow": "1h", "red": "2h"}}


def test_no_motion_in_any_room(changes):
    lines = series("Bath/motion", ("05:00", 1)) + series("Bed/motion", ("05:30", 1), ("07:00", 0), ("08:10", 1))
    assert changes(lines, QUIET, until="09:00") == [
        "06:30:00 HOME 0>2 3600/3600",
        "07:30:00 HOME 2>4 7200/7200",
        "08:10:00 HOME 4>0 9600/7200",
    ]


def test_no_timer_runs_before_the_first_motion_and_the_button_is_no_motion(changes):
    lines = [*tick("05:00"), *series("Bath/motion", ("05:00", 0)), *series("Bath/button", ("05:10", 1)), *tick("12:00")]
    assert changes(lines, QUIET) == []


def test_while_nobody_is_in_away_levels_take_the_place_of_levels(changes):
    rule = QUIET | RETURN | {"away_levels": {"orange": "4h"}}
    lines = series("Bed/motion", ("05:00", 1)) + series("Door/motion", ("05:30", 1))
    assert changes(lines, rule, until="10:00") == ["09:30:00 HOME 0>3 14400/14400"]
    # Two motions are ignored; the third ends the absence, and from it the usual levels run.
    back = series("Bath/motion", ("09:40", 1), ("09:41", 1), ("09:42", 1))
    assert changes(lines + back[:2], rule, until="10:00") == ["09:30:00 HOME 0>3 14400/14400"]
    assert changes(lines + back, rule, until="11:00") == [
        "09:30:00 HOME 0>3 14400/14400",
        "09:42:00 HOME 3>0 15120/14400",
        "10:42:00 HOME 0>2 3600/3600",
    ]


def test_while_nobody_is_in_and_without_away_levels_no_timer_runs(changes):
    lines = series("Bed/motion", ("05:00", 1)) + series("Door/motion", ("06:30", 1))
    assert changes(lines, QUIET | RETURN, until="12:00") == [
        "06:00:00 HOME 0>2 3600/3600",
        "06:30:00 HOME 2>0 5400/3600",
    ]


# press


def test_a_press_is_red_at_once_and_back_after_the_last_one(changes):
    lines = series("Bath/button", ("05:00", 1), ("05:00:40", 1), ("05:01", 0)) + series("Bed/motion", ("05:10", 1))
    assert changes(lines, CALL) == ["05:00:00 HOME 0>4 1/1", "05:01:40 HOME 4>0 0/1"]


# silence


def test_a_sensor_is_silent_since_its_last_reading_of_any_quantity(changes):
    lines = [*series("K2/in", ("05:00", 0)), *series("K1/in", ("05:00", 0)), *series("K1/out", ("05:10", 0))]
    lines += series("K2/in", ("05:20", 0), ("08:00", 0))
    assert [c for c in changes(lines, DEAD, until="07:30") if "K1" in c] == [
        "05:25:00 K1 0>2 900/900",
        "07:10:00 K1 2>3 7200/7200",
    ]
    assert [c for c in changes(lines, DEAD, until=None) if "K2" in c] == [
        "05:15:00 K2 0>2 900/900",
        "05:20:00 K2 2>0 1200/900",
        "05:35:00 K2 0>2 900/900",
        "07:20:00 K2 2>3 7200/7200",
        "08:00:00 K2 3>0 9600/7200",
    ]


def test_a_sensor_that_never_reported_is_silent_since_the_first_tick(changes):
    lines = [*tick("05:00:20"), *tick("05:20")]
    assert changes(lines, DEAD) == ["05:15:20 K1 0>2 900/900", "05:15:20 K2 0>2 900/900"]


def test_silence_is_ended_by_held_readings_but_not_by_late_or_duplicate_ones(changes):
    rule = DEAD | {"kind": "flood", "levels": {"red": "15m"}}
    start = [*tick("05:00", "flood"), *series("F2/depth", ("05:00", 0))]
    lines = [*start, *series("F1/depth", ("05:00", 0), ("05:10", 9), ("05:05", 0), ("05:10", 0))]
    found = changes([*lines, *tick("05:30", "flood")], rule, quantities=STEP)
    assert [c for c in found if "F1" in c] == ["05:25:00 F1 0>4 900/900"]


# occupancy

FULL = {"type": "occupancy", "kind": "crowd", "levels": {"yellow": 0.5, "red": 1}, "hysteresis": 0.1, "reset": "03:00"}


def test_people_in_minus_out_never_below_0(changes):
    lines = [*series("K1/out", ("05:00", 20)), *series("K1/in", ("05:01", 50)), *series("K2/out", ("05:02", 10))]
    lines += [*series("K2/in", ("05:03", 60)), *series("K1/out", ("05:04", 100))]
    assert changes(lines, FULL) == [
        "05:01:00 VENUE 0>2 0.5/0.5",
        "05:03:00 VENUE 2>4 1/1",
        "05:04:00 VENUE 4>0 0/1",
    ]


def test_of_one_time_a_count_sets_the_number_else_in_and_out_are_added_first(changes):
    both = readings(("05:01", "K1/out", 30), ("05:01", "K2/in", 80))
    assert changes([*series("K1/in", ("05:00", 5)), both], FULL) == ["05:01:00 VENUE 0>2 0.55/0.5"]
    counted = readings(("05:01", "K1/count", 100), ("05:01", "K1/in", 60), ("05:01", "K2/count", 60))
    assert changes([counted], FULL) == ["05:01:00 VENUE 0>2 0.6/0.5"]


def test_a_counter_behind_the_other_counts_at_the_others_time(changes):
    lines = [*series("K1/in", ("05:10", 30)), *series("K2/in", ("05:05", 30))]
    assert changes(lines, FULL) == ["05:10:00 VENUE 0>2 0.6/0.5"]


def test_occupancy_is_reset_at_the_local_hour(changes):
    lines = series("K1/count", ("18:00", 70), ("19:30", 0))  # 19:00Z is 03:00 in Guangzhou
    assert changes(lines, FULL) == ["18:00:00 VENUE 0>2 0.7/0.5", "19:00:00 VENUE 2>0 0/0.5"]
    lines = series("K1/count", ("02:30", 70), ("03:30", 70), ("05:00", 0))
    assert changes(lines, FULL, timezone="UTC") == [
        "02:30:00 VENUE 0>2 0.7/0.5",
        "03:00:00 VENUE 2>0 0/0.5",
        "03:30:00 VENUE 0>2 0.7/0.5",
        "05:00:00 VENUE 2>0 0/0.5",
    ]


def test_a_reset_before_the_first_tick_is_none(changes):
    lines = [*tick("19:10", "crowd"), *series("K1/count", ("18:50", 70)), *tick("23:00", "crowd")]
    assert changes(lines, FULL) == ["18:50:00 VENUE 0>2 0.7/0.5"]


# waterlog_risk (runoff 0.5, interception 2 mm, storage 10 mm, drainage 1 mm/min, hollow_ratio 100)

RISK = {"type": "waterlog_risk", "kind": "flood", "levels": {"blue": 0.1, "red": 0.6}, "hysteresis": 0.05}


def test_a_measured_depth_sets_the_water(changes):
    # d = 0.5 m: W = 10 + 5; a minute later W = 14, without another reading, and x = 0.4.
    lines = series("F1/depth", ("05:00:10", 0.7), ("05:00:50", 0.5)) + series("F2/depth", ("05:00:20", 0.4))
    assert changes(lines, RISK, until="05:06") == ["05:01:00 CATCH 0>1 0.5/0.1", "05:06:00 CATCH 1>0 0/0.1"]


def test_rain_runs_off_after_interception_and_is_looked_at_30_minutes_ahead(changes):
    # r = mean(40, 20) = 30; 2 mm lost, W = 0.5 * 28 - 1 = 13 and depth 0.3;
    # the mean of 15 minutes is 2 mm/min, so W30 = 13 + 30 * (1 - 1) = 13.
    lines = series("R1/rain", ("05:00:10", 15), ("05:00:50", 25)) + series("R2/rain", ("05:00:20", 20))
    # Then W = 12 (0.2), 11 (0.1), 10 (0, and the hysteresis is 0.05).
    assert changes(lines, RISK, until="05:10") == ["05:01:00 CATCH 0>1 0.3/0.1", "05:04:00 CATCH 1>0 0/0.1"]


def test_more_rain_to_come_is_a_risk_before_there_is_water(changes):
    # r = 92: W = 0.5 * 90 - 1 = 44 would be depth 3.4, so take storage 100: none yet. The mean is 92 / 15;
    # W30 = 44 + 30 * (0.5 * 92 / 15 - 1) = 106, depth 0.6.
    lines = series("R1/rain", ("05:00:10", 92))
    found = changes(lines, RISK, catalogue=sites(storage_mm=100), until="05:01")
    assert found == ["05:01:00 CATCH 0>4 0.6/0.6"]


def test_360_dry_minutes_end_a_storm(changes):
    no_drain = sites(drainage_mm_h=0, storage_mm=0, runoff=1, interception_mm=2, hollow_ratio=10)
    rule = RISK | {"levels": {"blue": 0.01}, "hysteresis": 0}
    first = series("R1/rain", ("05:00", 2))
    # The second shower comes after 359 dry minutes: the storm goes on, and nothing more is lost.
    going_on = changes(first + series("R1/rain", ("11:00", 1)), rule, catalogue=no_drain, until="11:01")
    assert going_on == [
        "05:01:00 CATCH 0>1 0.04/0.01",  # all of it is lost, but the mean of 15 minutes is what may come
        "05:16:00 CATCH 1>0 0/0.01",
        "11:01:00 CATCH 0>1 0.03/0.01",
    ]
    new_storm = changes(first + series("R1/rain", ("11:01", 1)), rule, catalogue=no_drain, until="11:02")
    assert new_storm[2:] == ["11:02:00 CATCH 0>1 0.02/0.01"]


def test_catchments_that_have_no_sensor_yet_change_nothing(changes):
    more = [feature(f"CATCH{n}", "place", "flood", f"TH-1{n}", **CATCHMENT) for n in (1, 2, 3)]
    catalogue = collection(*sites()["features"], *more, feature("F3", "sensor", "flood", "TH-11", place="CATCH1"))
    lines = series("F1/depth", ("05:00:10", 0.7), ("05:00:50", 0.5))
    assert changes(lines, RISK, catalogue=catalogue, until="05:06", partitions=1) == [
        "05:01:00 CATCH 0>1 0.5/0.1",
        "05:06:00 CATCH 1>0 0/0.1",
    ]


def test_a_minute_is_due_when_both_clocks_less_grace_have_passed_it(changes):
    lines = [*series("F1/depth", ("05:00:10", 0.5)), *tick("05:02", "flood"), *tick("05:01:29", "rain")]
    assert changes(lines, RISK, grace="30s") == []
    assert changes([*lines, *tick("05:01:30", "rain")], RISK, grace="30s") == ["05:01:00 CATCH 0>1 0.5/0.1"]
    assert changes([*lines, *tick("05:10", "flood")], RISK, grace="30s") == []


def test_a_reading_is_ignored_once_its_own_clock_has_ended_its_minute(changes):
    rain_waits = [*tick("05:01", "flood"), *series("F1/depth", ("05:00:10", 0.5)), *tick("05:02", "rain", "flood")]
    assert changes(rain_waits, RISK) == []
    flood_waits = [*tick("05:01", "rain"), *series("F1/depth", ("05:00:10", 0.5)), *tick("05:02", "rain", "flood")]
    assert changes(flood_waits, RISK) == ["05:01:00 CATCH 0>1 0.5/0.1"]
