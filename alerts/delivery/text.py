"""What people are told: where, what, how high, since when, what to do, and where to answer; short enough for an SMS."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from alerts.cases.notification import Notification, Why
from alerts.levels import LEVEL_NAMES
from alerts.message import LEVELS_ZH

TIMEZONE: Final = ZoneInfo("Asia/Shanghai")
MOST: Final = {"zh": 201, "en": 268}
"""Characters: three and four SMS joined to one, 67 each. Names of places are Chinese in both, so it is UCS-2 always."""

_Pair = tuple[str, str]  # Chinese, English
_EXERCISE: _Pair = ("【演练】", "EXERCISE ")
_WHY: dict[Why, _Pair] = {
    "opened": ("", ""),
    "raised": ("升级", "RAISED"),
    "reopened": ("再次发生", "AGAIN"),
    "pressed": ("再次呼叫", "CALLED AGAIN"),
    "escalated": ("无人应答，转您处理", "NOBODY ANSWERED, YOUR TURN"),
    "asked": ("请求增援", "HELP ASKED FOR"),
    "repeated": ("仍无人应答", "STILL NO ANSWER"),
    "last_resort": ("一直无人应答", "NOBODY ANSWERED AT ALL"),
    "unwatched": ("失去看护", "NOT WATCHED"),
    "watched": ("恢复看护，仍无活动", "WATCHED AGAIN, STILL NO ACTIVITY"),
    "resolved": ("已解除", "OVER"),
    "no_data": ("无数据", "NO DATA"),
    "closed": ("已结案", "CLOSED"),
}
_BY_WHY: dict[Why, _Pair] = {
    "unwatched": ("全户传感器失联，请致电或上门确认平安", "all sensors are silent: call or go and see"),
    "watched": ("请致电或上门确认平安", "call or go and see"),
    "resolved": ("无需再处理", "nothing more to do"),
    "no_data": ("传感器失联，不代表已解除，请现场核实", "sensors are silent, this is not over: check on site"),
    "closed": ("无需再处理", "nothing more to do"),
}
_BY_TYPE: dict[str, tuple[_Pair, _Pair]] = {  # blue and yellow; orange and red
    "level": (("请到场查看", "go and look"), ("请立即到场，封闭积水路段", "go now, close the flooded road")),
    "rise": (("请到场查看", "go and look"), ("请立即到场，封闭积水路段", "go now, close the flooded road")),
    "window_sum": (
        ("请巡查低洼点", "check low-lying spots"),
        ("请立即巡查低洼点，备勤抽排", "check low spots now, pumps ready"),
    ),
    "waterlog_risk": (
        ("请巡查并备勤抽排", "check, have pumps ready"),
        ("请立即布设抽排、引导绕行", "place pumps, divert traffic now"),
    ),
    "dwell": (("请致电确认平安", "call and ask"), ("请立即致电，无人接听即上门", "call now; no answer: go there")),
    "inactivity": (("请致电确认平安", "call and ask"), ("请立即致电，无人接听即上门", "call now; no answer: go there")),
    "press": (("请立即联系并上门", "call and go there now"), ("请立即联系并上门", "call and go there now")),
    "silence": (
        ("请检查设备和供电", "check sensor and power"),
        ("请派人检修，期间此处无监测", "send a repairer; nothing is watched there"),
    ),
    "occupancy": (("请加强疏导", "steer the crowd"), ("请立即限流疏散", "stop entry, open exits now")),
}
_OTHER: tuple[_Pair, _Pair] = (("请核实", "check"), ("请立即核实处置", "check and act now"))
_OVER: Final = ("resolved", "closed")


class Words(NamedTuple):
    """One message: a ``title`` for channels that have one (a mail's subject), and a ``body`` that stands alone."""

    title: str
    body: str


def advice(alert: dict[str, Any], level: int, lang: str, why: Why = "opened") -> str:
    """What to do about an alert at a level, in a few words."""
    pair = _BY_WHY.get(why) or _BY_TYPE.get(str(alert["type"]), _OTHER)[level > 2]
    return pair[0 if lang == "zh" else 1]


def words(notification: Notification, lang: str, base_url: str | None = None, timezone: tzinfo = TIMEZONE) -> Words:
    """The message in ``zh`` or ``en``. What makes it too long is taken from the middle, never from head or link."""
    n, alert = (0 if lang == "zh" else 1), notification.alert
    level = LEVELS_ZH[notification.level] if lang == "zh" else LEVEL_NAMES[notification.level].upper()
    why = _WHY[notification.why][n]
    label = " ".join(part for part in (level if notification.level else "", why) if part)
    head = (_EXERCISE[n] if notification.exercise else "") + (f"[{label}] " if label else "")
    texts = alert["message"]
    what = str(texts[lang]) if isinstance(texts, dict) else str(alert["id"])
    if notification.count:
        what = _gathered(notification.count, notification.names or (), notification.why, lang)
    began = datetime.fromisoformat(str(alert["onset"])).astimezone(timezone)
    since = f"{began:%m-%d %H:%M}" + ("起" if lang == "zh" else "")
    to_do = advice(alert, notification.level, lang, notification.why)
    tail = f"，{since}。{to_do}。" if lang == "zh" else f", since {since}: {to_do}."
    link = f" {base_url.rstrip('/')}/?case={quote(notification.case, safe='/:')}" if base_url else ""
    room = MOST[lang] - len(head) - len(tail) - len(link)
    if len(what) > room:
        what = what[: max(room - 1, 20)] + "…"
    return Words(f"{head}{what}", f"{head}{what}{tail}{link}")


def _gathered(count: int, names: tuple[str, ...], why: Why, lang: str) -> str:
    """Many sensors in one message: how many, and the first of them."""
    more = count - len(names)
    if lang == "zh":
        what = "恢复" if why == "resolved" else "失联"
        return f"{count}个传感器{what}：{'、'.join(names)}{'等' if more > 0 else ''}"
    what = "speak again" if why == "resolved" else "silent"
    return f"{count} sensors {what}: {', '.join(names)}{f' and {more} more' if more > 0 else ''}"
