"""Why something was decided, in one line for people, in Chinese and English."""

from __future__ import annotations

from typing import Any

from alerts.cases.message import Words
from alerts.levels import LEVEL_NAMES
from alerts.message import LEVELS_ZH, duration

_WORDS = {
    "opened": ("新警情，{level}", "new, {level}"),
    "unwatched": (
        "该户所有传感器失联，已无法看护，{level}",
        "all sensors of the home are silent: it can no longer be watched, {level}",
    ),
    "watched": ("传感器恢复，仍无人活动", "the sensors speak again, and nobody has moved"),
    "watched_again": ("传感器恢复，重新可以看护", "the sensors speak again: the home is watched"),
    "raised": ("由{previous}升为{level}", "up from {previous} to {level}"),
    "raised_again": (
        "升为{level}，此前的应答只到{answered}",
        "up to {level}; somebody had answered up to {answered}",
    ),
    "lowered": ("由{previous}降为{level}", "down from {previous} to {level}"),
    "reopened": ("再次触发，{level}", "fires again, {level}"),
    "pressed": ("再次按下呼叫按钮", "the call button was pressed again"),
    "reset": ("按钮已复位，须由人结案", "the button went back; only a person closes a call for help"),
    "escalated": ("无人应答，通知下一批", "nobody answered: the next are told"),
    "unreached": (
        "本批人员均无法送达，立即通知下一批",
        "nobody of this step could be reached: the next are told at once",
    ),
    "repeated": ("全部通知后无人应答，再通知一轮", "nobody of the whole chain answered: once more"),
    "last_resort": ("始终无人应答，通知最后责任人", "nobody answered at all: the last resort is told"),
    "nobody": ("此时无人值班，{wait}后再试", "nobody is on duty now: again in {wait}"),
    "asked": ("{by}要求通知下一批", "{by} asks for the next"),
    "notified": ("已送达{by}", "{by} was reached"),
    "acknowledged": ("{by}已应答", "{by} answered"),
    "noted": ("{by}备注", "{by} notes"),
    "resolved": ("警情解除", "the alert is over"),
    "resolved_unanswered": ("警情已解除但无人应答过，继续通知", "over, but nobody had answered: telling goes on"),
    "withdrawn": (
        "警情撤销：规则或点位已变更",
        "the alert was withdrawn: its rule or site was changed or removed",
    ),
    "no_data": ("数值回落时传感器失联，不能视为解除", "it fell while its sensors were silent: that is no all-clear"),
    "data": ("传感器恢复后{wait}内未再触发", "the sensors speak again, and it did not fire within {wait}"),
    "flapping": (
        "{wait}内变化{count}次，暂停逐次通知",
        "{count} changes within {wait}: changes are told no longer",
    ),
    "damped": ("反复波动中，只记录不通知：{level}", "flapping, so on record only: {level}"),
    "calm": ("已稳定{wait}：{level}", "steady for {wait}: {level}"),
    "silenced": ("被静默（{by}：{text}），至{until}", "held back by {by} ({text}) until {until}"),
    "unsilenced": ("静默结束", "the silence is over"),
    "grouped": ("所在片区内涝红色预警，合并显示", "shown under the red waterlogging risk of its catchment"),
    "ungrouped": ("片区内涝红色预警结束", "the red waterlogging risk is over"),
    "closed": ("{by}结案", "closed by {by}"),
    "outcome": ("{by}补记处置结果", "{by} adds the outcome"),
    "closed_answered": ("解除后{wait}未再触发，自动结案", "over for {wait}, and somebody had answered"),
    "closed_minor": (
        "解除后{wait}未再触发，蓝色、黄色无须应答，自动结案",
        "over for {wait}; blue and yellow close without an answer",
    ),
    "closed_told": (
        "已解除，各级均已通知，无人应答",
        "over; everybody was told up to the last resort; nobody answered",
    ),
    "unclosed": ("{by}应答{wait}后仍未结案，重新通知", "{by} answered {wait} ago and has not closed it: told again"),
    "closed_silenced": ("静默期间触发并解除", "it fired and was over while it was held back"),
    "already_closed": ("已结案，{by}的操作无效", "the case is closed: nothing was done for {by}"),
    "unknown_person": ("{by}不在人员名册", "{by} is not in the directory"),
    "unknown_case": ("没有案件{case}", "there is no case {case}"),
    "unknown_silence": ("没有静默或检修{silence}", "there is no silence {silence}"),
    "in_force": ("已生效，至{until}", "in force until {until}"),
    "lifted": ("已解除，仍在触发的随即通知", "lifted: what still fires is told now"),
}


def reason(which: str, **values: Any) -> Words:
    """``level``, ``previous`` and ``answered`` are levels, ``wait`` is in ms, the rest as it is to be read."""
    texts = []
    for n, lang in enumerate(("zh", "en")):
        names = LEVELS_ZH if lang == "zh" else LEVEL_NAMES
        shown = {k: names[v] if k in ("level", "previous", "answered") else v for k, v in values.items()}
        if "wait" in values:
            shown["wait"] = duration(values["wait"] / 1000, lang)
        texts.append(_WORDS[which][n].format(**shown))
    return Words(zh=texts[0], en=texts[1])
