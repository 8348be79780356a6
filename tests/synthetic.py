"""A plain chilled-water site for the tests of `predict`: regulated supply, load-following racks, an airlock on demand.

Only for tests: the shipped model is trained on the histories of `twin/emulator.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predict.watched import COLUMNS, WATCHES, Watched
from twin.telemetry.store import Batch

START_MS = 1_671_310_800_000
TICK_S = 15
NOISE = {"_c": 0.15, "_kpa": 3.0, "_frac": 0.01, "_kw": 3.0}


def plain_site(racks: int = 20, units: int = 4, loops: int = 1, chillers: int = 4) -> Watched:
    """A region of `loops` loops, each with one hall, its racks, cooling units and chillers (half of them standby)."""
    components: dict[str, list[str]] = {kind: [] for kind in ("loop", "chiller", "cooling_unit", "rack", "ups")}
    parent: dict[str, str] = {}
    for k in range(loops):
        hall, loop = f"s/h{k}", f"s/h{k}/loop"
        components["loop"].append(loop)
        components["ups"].append(f"s/h{k}/ups")
        parent[hall] = loop
        for kind, count, above in (("chiller", chillers, loop), ("cooling_unit", units, hall), ("rack", racks, hall)):
            names = [f"{hall}/{kind}{i}" for i in range(count)]
            components[kind] += names
            parent.update(dict.fromkeys(names, above))
    return Watched(components, parent)


@dataclass(frozen=True)
class Airlock:
    """Flow falls from `onset_s` for `lead_s`, then the chillers of loop 0 trip and its water warms."""

    onset_s: float
    lead_s: float

    @property
    def trip_s(self) -> float:
        return self.onset_s + self.lead_s


def truth(watched: Watched, now_s: float, load: NDArray[np.float64], airlock: Airlock | None) -> NDArray[np.float64]:
    """True values (rows, COLUMNS) at a time; `load` (loops,) is the load fraction of each hall."""
    out = np.full((len(watched.ids), COLUMNS), np.nan)
    loops = len(watched.components["loop"])
    flow, water = np.ones(loops), np.full(loops, 11.0)
    tripped = np.zeros(loops, bool)
    if airlock and now_s >= airlock.onset_s:
        part = min(1.0, (now_s - airlock.onset_s) / airlock.lead_s)
        flow[0] = 1.0 - 0.55 * part
        if now_s >= airlock.trip_s:
            flow[0], tripped[0] = 0.05, True
            water[0] += 0.65 / 60.0 * (now_s - airlock.trip_s)
    hot = 22.0 + 12.0 * load + np.maximum(0.0, water - 18.0)
    air = np.maximum(22.0, hot - 0.75 * (hot - water))
    of_kind = {
        "loop": {
            "supply_c": water,
            "flow_frac": flow,
            "pressure_kpa": 300 * flow**2,
            "return_c": water + 6 * load / flow,
        },
        "ups": {"battery_frac": np.ones(loops), "load_frac": 0.7 * load},
        "chiller": {"running": 1.0 - tripped, "power_kw": 60 * load * (1 - tripped)},
        "cooling_unit": {"supply_c": air, "running": np.ones(loops), "fan_frac": 0.3 + 0.5 * load},
        "rack": {"inlet_c": air + 0.6 * load, "outlet_c": hot},
    }
    for kind, channels in of_kind.items():
        each = len(watched.components[kind]) // loops
        for column, watch in enumerate(WATCHES[kind]):
            out[watched.rows[kind], column] = np.repeat(channels[watch.channel], each)
    chillers = watched.rows["chiller"]
    each = len(watched.components["chiller"]) // loops
    standby = np.tile(np.arange(each) >= (each + 1) // 2, loops)
    out[chillers, :2] *= ~standby[:, None]
    return out


def ticks(
    watched: Watched, hours: float, seed: int, airlock: Airlock | None = None, gap_frac: float = 0.03
) -> Iterator[tuple[int, Batch]]:
    """Yield (now_ms, batch) every 15 s: noisy, with gaps, late readings and loads that jump as jobs start and stop."""
    rng = np.random.default_rng(seed)
    names = np.array(watched.ids, object)
    channels = np.full((len(names), COLUMNS), "", object)
    noise = np.zeros((len(names), COLUMNS))
    for kind in watched.kinds:
        for column, watch in enumerate(WATCHES[kind]):
            channels[watched.rows[kind], column] = watch.channel
            noise[watched.rows[kind], column] = next(
                (sd for end, sd in NOISE.items() if watch.channel.endswith(end)), 0.0
            )
    bias = 0.3 * rng.standard_normal(noise.shape) * (noise > 0.02)
    load = rng.uniform(0.5, 0.9, len(watched.components["loop"]))
    late: list[Batch] = []
    for tick in range(int(hours * 3600 / TICK_S)):
        now_s = (tick + 1) * TICK_S
        if rng.random() < TICK_S / 1200:
            load = np.clip(load + rng.normal(0, 0.15, load.shape), 0.3, 0.95)
        value = truth(watched, now_s, load, airlock) + bias + noise * rng.standard_normal(noise.shape)
        at = START_MS + int(now_s * 1000)
        keep = np.isfinite(value) & (rng.random(value.shape) >= gap_frac)
        row, column = np.nonzero(keep)
        time_ms = at - rng.integers(0, TICK_S * 1000, len(row))
        batch = Batch(time_ms, names[row], channels[row, column], value[row, column])
        delayed = rng.random(len(row)) < 0.02
        yield at, Batch.joined([batch.take(~delayed), *late])
        late = [batch.take(delayed)]
