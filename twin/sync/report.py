"""The sync report: a row per channel and horizon, in the words of contracts.md; horizon 0 are the innovations."""

from __future__ import annotations

from collections.abc import Mapping

from twin.sync.ahead import Lookout
from twin.sync.divergence import FRESH_MS
from twin.sync.synchronise import Synchroniser

Row = dict[str, object]

ORDER = (
    "region.power_kw", "hall.power_kw", "node.power_kw", "loop.supply_c", "loop.flow_frac", "cdu.coolant_c",
    "hall.hot_c", "rack.inlet_c", "rack.outlet_c",
)  # fmt: skip


def sync_rows(sync: Synchroniser, lookout: Lookout, now_ms: int, refused: Mapping[str, int]) -> list[Row]:
    """Return all rows, the channels that plans stand on first, each by its horizons.

    refused: how many readings the gate refused, by `kind.channel`.
    """
    now = [_now(sync, kind, channel, now_ms) for (kind, channel), f in sync.following.items() if f.n]
    rows = [*now, *lookout.rows()]
    for row in rows:
        row["refused"] = refused.get(str(row["channel"]), 0)
    place = {name: i for i, name in enumerate(ORDER)}
    return sorted(rows, key=lambda r: (place.get(str(r["channel"]), len(place)), str(r["channel"]), r["horizon_s"]))


def _now(sync: Synchroniser, kind: str, channel: str, now_ms: int) -> Row:
    """The innovations of one channel: what was read less what had been predicted for that instant."""
    f = sync.following[kind, channel]
    start = sync.names.first[kind, channel]
    newest_ms = sync.past.newest_ms[start : start + len(f.last)]
    stale = int(((newest_ms > 0) & (now_ms - newest_ms > FRESH_MS)).sum())
    out = sync.shutouts.count((kind, channel))
    return {"channel": f"{kind}.{channel}", "horizon_s": 0, **f.row(), "stale": stale, "shut_out": out}
