"""What the sync page says of a look: how far off each channel is now and ahead, halls, sensors, sources. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from plant.channels import CHANNELS
from screens import words
from screens.look import Look
from screens.view import MARKS

LONGEST_ERROR = 160
HORIZONS_S = (0, 600, 3600)
HEADINGS = {0: "Now", 600: "10 min ahead", 3600: "1 h ahead"}
PLAN_CHANNELS = (
    "region.power_kw", "hall.power_kw", "node.power_kw", "loop.supply_c", "loop.flow_frac", "cdu.coolant_c",
    "hall.hot_c", "rack.inlet_c", "rack.outlet_c",
)  # fmt: skip
LIMIT_LEVEL, CALM_LEVEL = 3.0, 2.0  # as in twin/sync/divergence.py, for the words on the page
UNITS = {"C": ("K", 1.0), "fraction": ("points", 100.0), "flag": ("", 1.0)}
HISTORY = "before_start"
"""Readings from before the twin began: kept as history, refused by nobody."""
REASONS = {
    "too_late": "came too late",
    "again": "said twice",
    "not_a_number": "no number",
    "above_range": "above the range of its channel",
    "below_range": "below the range of its channel",
    "unknown_channel": "unknown channel",
    "unknown_component": "unknown component",
    "in_the_future": "from the future",
    "too_old": "too old",
}


@dataclass(frozen=True)
class Channel:
    """One channel of one kind: its rows by horizon [s]."""

    name: str
    rows: dict[int, dict[str, Any]]

    @property
    def label(self) -> str:
        """The channel as people say it: 'Rack inlet temperature'."""
        kind, _, channel = self.name.partition(".")
        found = next((one for one in CHANNELS if one.key == (kind, channel)), None)
        unit = f", {self.unit}" if found is not None and self.unit else ""
        return f"{words.label(_plain(self.name))}{unit}"

    @property
    def unit(self) -> str:
        """Unit of an error on screen."""
        return self._unit[0]

    @property
    def _unit(self) -> tuple[str, float]:
        kind, _, channel = self.name.partition(".")
        found = next((one for one in CHANNELS if one.key == (kind, channel)), None)
        return ("", 1.0) if found is None else UNITS.get(found.unit, (found.unit, 1.0))

    def error(self, horizon_s: int) -> str:
        """RMSE at a horizon, in the unit of the label."""
        rmse = self.rows.get(horizon_s, {}).get("rmse")
        return short(rmse * self._unit[1]) if words.known(rmse) else words.NONE

    def ratio(self, horizon_s: int) -> float | None:
        """RMSE over that of persistence, None where one is unknown or persistence is perfect."""
        row = self.rows.get(horizon_s, {})
        ours, plain = row.get("rmse"), row.get("persistence_rmse")
        return ours / plain if words.known(ours) and words.known(plain) and plain > 0 else None

    def coverage(self, horizon_s: int) -> float | None:
        """Share of readings inside the stated 80 % band."""
        share = self.rows.get(horizon_s, {}).get("coverage80")
        return share if words.known(share) else None

    def newest(self, key: str) -> int:
        """A count, of now where it is said there."""
        found = (row.get(key) for row in self.rows.values())
        return max((int(value) for value in found if words.known(value)), default=0)


@dataclass(frozen=True)
class Hall:
    """How one hall is followed."""

    name: str
    out: bool
    level: float
    channel: str
    since_ms: int | None

    @property
    def state(self) -> str:
        """In a word, with its mark."""
        if self.out:
            return f"{MARKS['watch']} out of sync since {words.clock(self.since_ms)}"
        if self.level > LIMIT_LEVEL:
            return f"{MARKS['note']} beyond its limit, not for long yet"
        return f"{MARKS['note']} near its limit" if self.level > CALM_LEVEL else "in sync"


@dataclass(frozen=True)
class Following:
    """Everything the page shows. `told` is False before the worker's first report."""

    told: bool
    in_sync: bool | None
    reason: str
    channels: tuple[Channel, ...]
    halls: tuple[Hall, ...]
    shut_out: tuple[dict[str, Any], ...]
    sources: tuple[dict[str, Any], ...]
    refused: tuple[tuple[str, int], ...]
    tiles: tuple[tuple[str, str, str], ...]

    @property
    def for_plans(self) -> tuple[Channel, ...]:
        """The channels that plans stand on."""
        return tuple(one for one in self.channels if one.name in PLAN_CHANNELS)

    @property
    def others(self) -> tuple[Channel, ...]:
        """What is heard and reported beside."""
        return tuple(one for one in self.channels if one.name not in PLAN_CHANNELS)


def following(now: Look) -> Following:
    """The sync page of one look; whatever is absent or of another shape is left out, never a fault."""
    sync, status = now.sync or {}, now.status or {}
    rows = [row for row in sync.get("rows") or () if isinstance(row, dict) and row.get("channel")]
    channels = _channels(rows)
    halls = tuple(_hall(row) for row in sync.get("halls") or () if isinstance(row, dict))
    refused = _refused(sync)
    shut = tuple(row for row in sync.get("shut_out") or () if isinstance(row, dict))
    in_sync = status.get("in_sync") if isinstance(status.get("in_sync"), bool) else None
    found = (channels, halls, refused, shut)
    return Following(
        told=bool(rows),
        in_sync=in_sync,
        reason=str(status.get("sync_reason") or ""),
        channels=channels,
        halls=halls,
        shut_out=shut,
        sources=_sources(now.sources),
        refused=refused,
        tiles=_tiles(now, in_sync, *found),
    )


def _channels(rows: Sequence[dict[str, Any]]) -> tuple[Channel, ...]:
    by_name: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        horizon = row.get("horizon_s")
        by_name.setdefault(str(row["channel"]), {})[int(horizon) if words.known(horizon) else 0] = row
    place = {name: i for i, name in enumerate(PLAN_CHANNELS)}
    order = sorted(by_name, key=lambda name: (place.get(name, len(place)), name))
    return tuple(Channel(name, by_name[name]) for name in order)


def _hall(row: dict[str, Any]) -> Hall:
    level, since = row.get("level"), row.get("since_ms")
    return Hall(
        str(row.get("hall", "")),
        bool(row.get("out")),
        float(level) if words.known(level) else 0.0,
        str(row.get("channel") or ""),
        int(since) if words.known(since) else None,
    )


def _refused(sync: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """(reason in words, count), the most frequent first: of the gate, and of readings too late to be used."""
    counts: dict[str, int] = {}
    for part in (sync.get("refused"), sync.get("not_used")):
        for reason, n in (part or {}).items() if isinstance(part, dict) else ():
            if words.known(n) and n > 0 and reason != HISTORY:
                said = REASONS.get(str(reason), str(reason).replace("_", " "))
                counts[said] = counts.get(said, 0) + int(n)
    return tuple(sorted(counts.items(), key=lambda pair: -pair[1]))


def _sources(posted: Any) -> tuple[dict[str, Any], ...]:
    rows = posted.get("rows") if isinstance(posted, dict) else posted
    return tuple(row for row in rows or () if isinstance(row, dict)) if isinstance(rows, list | tuple) else ()


def _tiles(
    now: Look,
    in_sync: bool | None,
    channels: Sequence[Channel],
    halls: Sequence[Hall],
    refused: Sequence[tuple[str, int]],
    shut: Sequence[dict[str, Any]],
) -> tuple[tuple[str, str, str], ...]:
    lost = [hall.name for hall in halls if hall.out]
    worst = max(halls, key=lambda hall: hall.level, default=None)
    level = (
        f"worst {words.number(worst.level, 1)} of {words.number(LIMIT_LEVEL)} allowed" if worst else "not judged yet"
    )
    state = words.NONE if in_sync is None else "in sync" if in_sync else "OUT of sync"
    inlet = next((one for one in channels if one.name == "rack.inlet_c"), None)
    ahead = inlet.ratio(600) if inlet else None
    said = f"off; {words.number(ahead, 2)} × persistence" if ahead is not None else "no forecast has met its readings"
    n = sum(count for _, count in refused)
    return (
        ("Twin", state, words.listed(lost, 2) if lost else level),
        ("Newest reading", words.age(now.age_s), f"telemetry {now.freshness}"),
        ("Rack inlets 10 min ahead", f"{inlet.error(600)} K" if inlet and ahead is not None else words.NONE, said),
        ("Sensors shut out", f"{len(shut)}", _why_shut(shut)),
        ("Readings refused", words.number(n), refused[0][0] if refused else "none"),
    )


def _why_shut(shut: Sequence[dict[str, Any]]) -> str:
    reasons = sorted({str(one.get("reason", "")) for one in shut} - {""})
    return words.listed(reasons, 3) if reasons else "all are believed"


def short(value: float | None) -> str:
    """A number with two figures that count, without exponents."""
    if not words.known(value):
        return words.NONE
    digits = 0 if abs(value) >= 10 else 1 if abs(value) >= 1 else 2 if abs(value) >= 0.1 else 3
    return words.number(value, digits)


def table(channels: Sequence[Channel]) -> pd.DataFrame:
    """A row per channel: RMSE now and ahead, share inside the 80 % band, silent sensors and refused readings."""
    rows = {
        one.label: [
            *(one.error(h) for h in HORIZONS_S),
            _inside(one),
            *(_relative(one, key) for key in ("mape", "cv_rmse", "nmbe")),
            words.number(one.newest("stale")),
            words.number(one.newest("refused")),
        ]
        for one in channels
    }
    relative = ("MAPE", "CV-RMSE", "NMBE")
    columns = [*(HEADINGS[h] for h in HORIZONS_S), "In the 80 % band", *relative, "Silent", "Refused"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _plain(name: str) -> str:
    """`rack.inlet_c` as 'rack inlet'."""
    kind, _, channel = name.partition(".")
    what = channel.removesuffix("_c").removesuffix("_kw").removesuffix("_frac").replace("_", " ")
    return f"{words.kind(kind)} {what}".strip()


def _inside(one: Channel) -> str:
    shares = [one.coverage(h) for h in HORIZONS_S]
    return " · ".join(words.safe(words.percent(share)) if share is not None else words.NONE for share in shares)


def _relative(one: Channel, key: str) -> str:
    """A relative figure of the forecasts 10 min ahead, in percent."""
    share = one.rows.get(600, {}).get(key)
    # adding 0.0 makes a rounded minus nothing a nothing
    return f"{words.number(round(100 * share, 1) + 0.0, 1)} %" if words.known(share) else words.NONE


def halls_table(halls: Sequence[Hall]) -> pd.DataFrame:
    """A row per hall: its state, the worst channel and how far off it is."""
    rows = {
        words.safe(hall.name): [
            hall.state,
            words.safe(_plain(hall.channel)) or words.NONE,
            f"{words.number(hall.level, 1)} ×",
        ]
        for hall in halls
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["State", "Worst channel", "As far off as expected"])


def sensors_table(shut: Sequence[dict[str, Any]], most: int = 8) -> pd.DataFrame:
    """The sensors that are shut out: which, why, since when."""
    rows = [
        [
            words.safe(one.get("component", "")),
            words.safe(str(one.get("channel", "")).rpartition(".")[2]),
            words.safe(one.get("reason", "")),
            words.safe(one.get("found", "")),
            words.clock(one.get("since_ms")),
        ]
        for one in shut[:most]
    ]
    return pd.DataFrame(rows, columns=["Sensor", "Channel", "Why", "Found", "Since"])


def sources_table(sources: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The sources of telemetry: kind, state, age of the newest sample, what came of it, the last error."""
    rows = [
        [
            words.safe(one.get("name", "")),
            words.safe(one.get("kind", "")),
            words.safe(one.get("state", "")),
            words.age(one.get("age_s")),
            words.number(one.get("readings")),
            words.number(one.get("refused")),
            words.number(one.get("unmatched")),
            words.safe(str(one.get("last_error") or "")[:LONGEST_ERROR]),
        ]
        for one in sources
    ]
    return pd.DataFrame(
        rows, columns=["Source", "Kind", "State", "Newest", "Readings", "Refused", "No rule", "Last error"]
    )
