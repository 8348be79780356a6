"""ECharts options as plain dictionaries: grey by default, colour and a shape for what is abnormal. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from screens import words
from screens.comparison import LOST, Comparison
from screens.heat import Cell, Heat
from screens.view import MARKS

Option = dict[str, Any]

INK, QUIET, RULE, PANEL = "#262626", "#5E5E5E", "#C8C8C8", "#F0F0F0"
LINES = ("#35506B", "#6F6F6F", "#9D9D9D", "#3C3C3C")
DASHES = ("solid", "dashed", "dotted", "solid")
ACT, WATCH, NOTE = "#C62828", "#E07B00", "#7A7A7A"
RAMP = ("#E4E4E4", "#C6C6C6", "#9D9D9D", "#737373")
GREYS = ("#262626", "#767676", "#4C4C4C", "#8C8C8C", "#3A3A3A", "#9D9D9D", "#5E5E5E", "#707070")
FONT = {"fontSize": 11, "color": QUIET}
COLOURS = {"act": ACT, "watch": WATCH}
LIMIT_C = 27.0
"""The recommended inlet limit (ASHRAE TC 9.9), at which the static alarm of comparison speaks."""


def heat_map(found: Heat, *, frozen: bool = False) -> Option:
    """Cells of the fleet; an abnormal one has colour and mark, an unknown one a dashed frame and a question mark.

    `frozen` takes the colours away: what is only the last known state calls nobody to act.
    """
    return {
        "animation": False,
        "aria": {"enabled": True},
        "grid": {"left": 2, "right": 2, "top": 2, "bottom": 2, "containLabel": True},
        "tooltip": {"formatter": "{b}", "confine": True},
        "xAxis": {"type": "category", "data": [str(n + 1) for n in range(found.width)], "show": False},
        "yAxis": {
            "type": "category",
            "data": list(found.rows),
            "inverse": True,
            "axisLine": {"show": False},
            "axisTick": {"show": False},
            "axisLabel": {**FONT, "interval": 0},
        },
        "visualMap": {"show": False, "min": 0, "max": 1, "inRange": {"color": list(RAMP)}},
        "series": [
            {"type": "heatmap", "data": [_cell(cell, frozen) for cell in found.cells], "emphasis": {"disabled": True}}
        ],
    }


def _cell(cell: Cell, frozen: bool) -> Option:
    said = "unknown" if cell.p is None else f"risk {words.percent(cell.p)}"
    mark = {"act": MARKS["act"], "watch": MARKS["watch"], "unknown": "?"}.get(cell.band, "")
    style: Option = {"borderColor": PANEL, "borderWidth": 2}
    if cell.band in COLOURS and not frozen:
        style["color"] = COLOURS[cell.band]
    elif cell.band == "unknown":
        style |= {"color": PANEL, "borderColor": NOTE, "borderWidth": 1, "borderType": "dashed"}
    dark = frozen or mark == "?"
    return {
        "name": f"{cell.component}: {said}",
        "value": [cell.x, cell.y, cell.p or 0.0],
        "itemStyle": style,
        "label": {"show": bool(mark), "formatter": mark, "fontSize": 10, "color": INK if dark else "#FFFFFF"},
    }


def trend(
    minutes: Sequence[int],
    lines: Mapping[str, Sequence[float | None]],
    *,
    unit: str,
    digits: int = 1,
    limit: tuple[str, float] | None = None,
    band: tuple[float, float] | None = None,
    low: float | None = None,
    high: float | None = None,
    span: float = 0.0,
) -> Option:
    """A small trend over site time: a line a name, its name at the end, a limit and a normal band if given.

    `span` is the least height of the axis, so that noise does not look like an event.
    """
    series = [_line(n, name, minutes, values) for n, (name, values) in enumerate(lines.items())]
    _part_labels(series)
    found = [value for values in lines.values() for value in values if words.known(value)]
    if series and limit:
        series[0]["markLine"] = {
            "silent": True,
            "symbol": "none",
            "lineStyle": {"color": WATCH, "type": "dashed", "width": 1},
            "label": {"formatter": limit[0], "position": "insideStartTop", **FONT},
            "data": [{"yAxis": limit[1]}],
        }
    if series and band:
        series[0]["markArea"] = {
            "silent": True,
            "itemStyle": {"color": "#E2E2E2"},
            "data": [[{"yAxis": band[0]}, {"yAxis": band[1]}]],
        }
    axis: Option = {
        "type": "value",
        "scale": True,
        "splitNumber": 3,
        "axisLabel": {**FONT},
        "splitLine": {"lineStyle": {"color": "#E0E0E0"}},
    }
    if limit and high is None:
        high = max([limit[1] + 1, *map(math.ceil, found)])  # always in the picture, for the distance to it
    elif found and max(found) - min(found) < span:
        middle, step = (min(found) + max(found)) / 2, span / 4
        low, high = (
            step * part((middle + half) / step) for part, half in ((math.floor, -span / 2), (math.ceil, span / 2))
        )
        low = max(low, 0.0) if min(found) >= 0.0 else low  # what was never below nothing has no room there
    axis |= {key: value for key, value in (("min", low), ("max", high)) if value is not None}
    return {
        "animation": False,
        "useUTC": True,
        "aria": {"enabled": True},
        "grid": {"left": 2, "right": 50, "top": 8, "bottom": 2, "containLabel": True},
        "tooltip": {"trigger": "axis", "confine": True, "valueFormatter": f"%.{digits}f {unit}".rstrip()},
        "xAxis": {
            "type": "time",
            "splitNumber": 3,
            "axisLabel": {**FONT, "formatter": "{HH}:{mm}", "hideOverlap": True},
            "axisLine": {"lineStyle": {"color": RULE}},
        },
        "yAxis": axis,
        "series": series,
    }


def _part_labels(series: Sequence[Option]) -> None:
    """Move the names at the ends of lines that end close together apart."""
    ended = [one for one in series if one["data"] and one["data"][-1][1] is not None]
    ended.sort(key=lambda one: -one["data"][-1][1])
    for place, one in enumerate(ended):
        one["endLabel"]["offset"] = [0, 6 * (2 * place - len(ended) + 1)]


def in_percent(fracs: Sequence[float | None]) -> list[float | None]:
    """Fractions as percent; what is missing stays missing."""
    return [100 * frac if words.known(frac) else None for frac in fracs]


def floor(percents: Sequence[float | None]) -> float:
    """Where the axis of a percentage starts: at 80 % while all is well, at the ten below the worst otherwise."""
    return min(80.0, 10.0 * math.floor(min((p for p in percents if p is not None), default=80.0) / 10))


def _line(n: int, name: str, minutes: Sequence[int], values: Sequence[float | None]) -> Option:
    points = [[at, value if words.known(value) else None] for at, value in zip(minutes, values, strict=False)]
    return {
        "type": "line",
        "name": name,
        "data": points,
        "showSymbol": False,
        "lineStyle": {"width": 1.5, "color": LINES[n % 4], "type": DASHES[n % 4]},
        "itemStyle": {"color": LINES[n % 4]},
        "endLabel": {"show": True, "formatter": "{a}", **FONT},
    }


def lost_service(found: Comparison) -> Option:
    """Mean and 10th to 90th percentile of the lost service minutes, a bar a plan, do nothing on top."""
    known = [one for one in found.candidates if LOST.of(one.rehearsal) is not None]
    names = [words.label(one.row.label) for one in known]
    means = [LOST.of(one.rehearsal) for one in known]
    lows = [LOST.of(one.rehearsal, "costs_p10") for one in known]
    highs = [LOST.of(one.rehearsal, "costs_p90") for one in known]
    ends = [
        (low, high) if low is not None and high is not None else (mean, mean)
        for low, high, mean in zip(lows, highs, means, strict=True)
    ]
    return {
        "animation": False,
        "aria": {"enabled": True},
        "grid": {"left": 2, "right": 60, "top": 2, "bottom": 2, "containLabel": True},
        "xAxis": {
            "type": "value",
            "min": 0,
            "axisLabel": {**FONT, "formatter": "{value} min"},
            "splitLine": {"lineStyle": {"color": "#E0E0E0"}},
        },
        "yAxis": {
            "type": "category",
            "data": names,
            "inverse": True,
            "axisTick": {"show": False},
            "axisLine": {"show": False},
            "axisLabel": {"fontSize": 12, "color": INK},
        },
        "series": [
            {
                "type": "bar",
                "stack": "range",
                "silent": True,
                "itemStyle": {"color": "transparent"},
                "data": [a for a, _ in ends],
            },
            {
                "type": "bar",
                "stack": "range",
                "silent": True,
                "barWidth": 8,
                "itemStyle": {"color": "#B8B8B8"},
                "label": {"show": True, "position": "right", "color": INK, "fontSize": 11},
                "data": [
                    {"value": b - a, "label": {"formatter": f"{words.number(mean)} min"}}
                    for (a, b), mean in zip(ends, means, strict=True)
                ],
            },
            {
                "type": "scatter",
                "symbol": "rect",
                "symbolSize": [3, 16],
                "itemStyle": {"color": INK},
                "data": [[round(mean or 0), n] for n, mean in enumerate(means)],
                "silent": True,
            },
        ],
    }


def ratios(rows: Sequence[tuple[str, float | None, float | None]]) -> Option:
    """Errors over those of persistence, a line a channel: full circle 10 min, empty circle 1 h ahead; a rule at 1."""
    names = [name for name, _, _ in rows]
    most = max([2.0, *(value for _, *both in rows for value in both if value is not None)])
    # a ratio far beyond the rest would press them all to one edge: it stands at the edge itself
    edge = min(math.ceil(2 * most) / 2, RATIO_EDGE)
    return {
        "animation": False,
        "aria": {"enabled": True},
        "grid": {"left": 2, "right": 24, "top": 8, "bottom": 2, "containLabel": True},
        "tooltip": {"formatter": "{a}: {b}", "confine": True},
        "xAxis": {
            "type": "value",
            "min": 0,
            "max": edge,
            "interval": 0.5 if edge <= 3 else 1,
            "axisLabel": {**FONT, "formatter": "{value} ×"},
            "splitLine": {"lineStyle": {"color": "#E0E0E0"}},
        },
        "yAxis": {
            "type": "category",
            "data": names,
            "inverse": True,
            "axisTick": {"show": False},
            "axisLine": {"show": False},
            "axisLabel": {"fontSize": 12, "color": INK, "interval": 0},
        },
        "series": [_dots("10 min", [(n, row[1]) for n, row in enumerate(rows)], edge, full=True, rule=True),
                   _dots("1 h", [(n, row[2]) for n, row in enumerate(rows)], edge, full=False, rule=False)],
    }  # fmt: skip


RATIO_EDGE = 4.0


def _dots(name: str, points: Sequence[tuple[int, float | None]], edge: float, *, full: bool, rule: bool) -> Option:
    """The circles of one horizon; `rule` draws the line at 1 beside them."""
    data = [
        {
            "name": f"{words.number(value, 2)} ×",
            "value": [min(value, edge), n],
            "itemStyle": {"color": LINES[0] if full else PANEL, "borderColor": LINES[0], "borderWidth": 1.5},
        }
        for n, value in points
        if words.known(value) and value is not None
    ]
    line = {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"color": INK, "type": "solid", "width": 1},
        "label": {"show": False},
        "data": [{"xAxis": 1}],
    }
    return {"type": "scatter", "name": name, "symbolSize": 9, "data": data} | ({"markLine": line} if rule else {})


def recovery_parts(parts: Sequence[tuple[str, float]]) -> Option:
    """The eight parts of the time to recovery as one stacked bar, in minutes, in the order they happen."""
    total = sum(length for _, length in parts)
    return {
        "animation": False,
        "aria": {"enabled": True},
        "grid": {"left": 8, "right": 24, "top": 8, "bottom": 58},
        "legend": {"bottom": 0, "itemWidth": 12, "itemHeight": 8, "textStyle": FONT},
        "tooltip": {"valueFormatter": "%.1f min", "confine": True},
        "xAxis": {"type": "value", "axisLabel": {**FONT, "formatter": "{value} min"}, "splitLine": {"show": False}},
        "yAxis": {"type": "category", "data": [""], "show": False},
        "series": [
            {
                "type": "bar",
                "stack": "mttr",
                "name": name,
                "barWidth": 26,
                "itemStyle": {"color": GREYS[n % len(GREYS)], "borderColor": PANEL, "borderWidth": 1},
                "label": {"show": length > 0.1 * total, "formatter": "{a}", "color": "#FFFFFF", "fontSize": 11},
                "data": [round(length, 2)],
            }
            for n, (name, length) in enumerate(parts)
        ],
    }
