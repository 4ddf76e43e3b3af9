"""The JSON Schemas of what is on the topics of on-call: ``python -m alerts.cases.schemas`` writes docs/schemas/."""

from __future__ import annotations

import json
from pathlib import Path

from alerts.cases.action import Action
from alerts.cases.case import Case
from alerts.cases.decision import Decision
from alerts.cases.message import Message
from alerts.cases.notification import Notification, Receipt

MESSAGES: dict[str, type[Message]] = {
    "action": Action,
    "case": Case,
    "decision": Decision,
    "notification": Notification,
    "receipt": Receipt,
}
FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def schema(name: str) -> str:
    """The schema of the messages of that name, as the file's text."""
    made = MESSAGES[name].model_json_schema(by_alias=True)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | made, indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in MESSAGES:
        (FOLDER / f"{name}.json").write_text(schema(name))
