"""What an alert says, in Chinese and English: where, what, how bad, the reading against its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alerts.levels import LEVEL_NAMES, Change

if TYPE_CHECKING:
    from alerts.rules import Rule
    from alerts.rules.rule import Site

LEVELS_ZH = ("正常", "蓝色", "黄色", "橙色", "红色")
_QUANTITIES = {
    "depth": ("积水", "water"),
    "rain": ("降雨", "rain"),
    "motion": ("活动", "motion"),
    "button": ("按钮", "button"),
    "in": ("进入人数", "people in"),
    "out": ("离开人数", "people out"),
    "count": ("在场人数", "people present"),
}
_TYPES = {
    "level": ("水位超限", "level"),
    "rise": ("快速上涨", "fast rise"),
    "window_sum": ("累计超限", "sum"),
    "dwell": ("停留过久", "long stay"),
    "inactivity": ("长时间无活动", "no activity"),
    "press": ("紧急呼叫", "call for help"),
    "silence": ("传感器失联", "sensor silent"),
    "occupancy": ("客流拥挤", "crowding"),
    "waterlog_risk": ("内涝风险", "waterlogging risk"),
}
_REASONS = {
    "rule_removed": ("规则已删除", "the rule was removed"),
    "rule_changed": ("规则已更改", "the rule was changed"),
    "site_removed": ("点位已撤除", "the site was removed"),
}


def title(rule_type: str, name: dict[str, str], rule_id: str, lang: str) -> str:
    """The rule's name in ``zh`` or ``en``, else what its type stands for, else its id."""
    words = _TYPES.get(rule_type, (rule_id, rule_id))
    return name.get(lang) or words[0 if lang == "zh" else 1]


def message(rule: Rule, site: Site, change: Change, reason: str | None = None) -> dict[str, str]:
    """The two sentences, by language. ``reason``: why the alert is over, where it was not a reading or a timer."""
    if reason:
        why = _REASONS[reason]
        zh, en = (title(rule.type, rule.rule.name, rule.rule.id, lang) for lang in ("zh", "en"))
        where = f"{site.district}{site.name}", f"{site.district} {site.name}"
        return {"zh": f"{where[0]}：{zh}已解除（{why[0]}）", "en": f"{where[1]}: {en} is over ({why[1]})"}
    quantity = _QUANTITIES.get(getattr(rule.rule, "quantity", ""), ("", ""))
    texts = {}
    for n, lang in enumerate(("zh", "en")):
        what = title(rule.type, rule.rule.name, rule.rule.id, lang)
        if not change.level:
            texts[lang] = (
                f"{site.district}{site.name}：{what}已解除"
                if lang == "zh"
                else f"{site.district} {site.name}: {what} is over"
            )
            continue
        words = rule.words[n].format(
            quantity=quantity[n],
            value=f"{round(change.value, 3):.10g}",
            threshold=f"{round(change.threshold, 3):.10g}",
            unit={"count": "人"}.get(rule.unit, rule.unit) if lang == "zh" else rule.unit,
            wait=duration(change.value, lang) if "{wait}" in rule.words[n] else None,
            percent=f"{change.value:.0%}",
            threshold_percent=f"{change.threshold:.0%}",
        )
        texts[lang] = (
            f"{site.district}{site.name}：{what}{LEVELS_ZH[change.level]}预警（{words}）"
            if lang == "zh"
            else f"{site.district} {site.name}: {what}, {LEVEL_NAMES[change.level]} ({words})"
        )
    return texts


def duration(seconds: float, lang: str) -> str:
    """``1 h 5 min``; ``1小时5分钟``."""
    units = (("天", " d"), ("小时", " h"), ("分钟", " min"), ("秒", " s"))
    rest, parts = round(seconds), []
    for (zh, en), size in zip(units, (86_400, 3_600, 60, 1), strict=True):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{zh if lang == 'zh' else en}")
    return ("" if lang == "zh" else " ").join(parts[:2]) or ("0秒" if lang == "zh" else "0 s")
