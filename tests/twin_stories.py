"""Small stories that the twin's tests share: a tiny site, its jobs, and everything that can happen to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from plant.actions import Action
from plant.site import Site, load_site
from twin import effects
from twin.ensemble import make_state
from twin.jobs import Jobs, make_jobs
from twin.services import make_services
from twin.state import State

T0_MS = 1_671_321_360_000
DATA = Path(__file__).parent.parent / "data"
MINUTE_MS = 60_000


def tiny() -> Site:
    """Return the tiny site."""
    return load_site(DATA / "sites" / "tiny.toml")


def some_jobs(count: int = 24, seed: int = 1) -> Jobs:
    """Return jobs that fill about two thirds of the tiny site within ten minutes."""
    rng = np.random.default_rng(seed)
    width = rng.integers(1, 4, count)
    return make_jobs(
        [f"j{i}" for i in range(count)],
        arrival_ms=T0_MS + rng.integers(0, 600, count) * 1000 + rng.integers(0, 1000, count),
        work_s=rng.uniform(900.0, 9000.0, count),
        width=width,
        share_frac=rng.choice([0.25, 0.5, 1.0], count),
        activity_frac=rng.uniform(0.3, 1.0, count),
        priority=rng.choice([1.0, 2.0, 4.0], count),
        gpus=width * rng.choice([0.0, 2.0], count),
        checkpoint_s=np.full(count, 600.0),
        restart_s=np.full(count, 90.0),
        state_gb=rng.uniform(1.0, 400.0, count),
        home=rng.integers(0, 2, count),
        move_mode=np.arange(count) % 3,
        dirty_gb_per_s=np.full(count, 4.0),
        replicated_frac=np.full(count, 0.5),
        save_s=np.arange(count) % 3 * 15.0,
        save_async=np.arange(count) % 2 == 1,
        **_served(count, width),
    )


def _served(count: int, width: np.ndarray) -> dict[str, object]:
    """Every fourth job is a replica of one of two services, one of which is busy and near its limit."""
    replica = np.arange(count) % 4 == 0
    services = make_services(
        ["calm", "busy"], offered_per_s=np.array([2.0, 7.0]), request_s=np.ones(2), limit_s=np.array([20.0, 4.0])
    )
    return {
        "service": np.where(replica, np.arange(count) % 8 // 4, -1),
        "servers": np.where(replica, 2 * width, 0),
        "services": services,
    }


def crisis(site: Site, members: int, seed: int = 7) -> State:
    """Return a state in which, within an hour, almost everything the twin knows will happen at once."""
    s = make_state(site, T0_MS, jobs=some_jobs(), members=members, seed=seed)
    s.node_fails_at[...] *= 0.002  # nodes fail often enough to be seen within an hour
    s.node_stop_c[...] -= 19.0  # and stop early enough
    loop = site.loop_ids[0]
    trip_ms = T0_MS + 10 * MINUTE_MS + 333
    s.agenda.add(
        T0_MS + 5 * MINUTE_MS, "loop_airlock", loop, "ingress",
        {"trip_ms": trip_ms, "bled_ms": trip_ms + 25 * MINUTE_MS, "chillers_back": 1,
         "all_back_ms": trip_ms + 31 * MINUTE_MS},
    )  # fmt: skip
    s.agenda.add(
        T0_MS + 7 * MINUTE_MS + 1, "chiller", site.chiller_ids[3], "trip", {"repaired_ms": T0_MS + 50 * MINUTE_MS}
    )
    some = tuple(range(0, members, 2))
    s.agenda.add(
        T0_MS + 9 * MINUTE_MS, "cooling_unit", site.unit_ids[0], "stop", {"repaired_ms": T0_MS + 40 * MINUTE_MS}, some
    )
    s.agenda.add(
        T0_MS + 14 * MINUTE_MS + 5, "control", site.hall_ids[1], "freeze", {"repaired_ms": T0_MS + 35 * MINUTE_MS}, some
    )
    wave = {"peak_k": 12.0, "peak_ms": T0_MS + 8 * MINUTE_MS, "over_ms": T0_MS + 30 * MINUTE_MS, "fall_ms": 600_000}
    s.agenda.add(T0_MS + 4 * MINUTE_MS + 9, "weather", site.region_ids[0], "rise", wave)
    for feed in site.feed_ids:  # a dip between two grid points: a site-wide cut
        s.agenda.add(T0_MS + 12 * MINUTE_MS + 4_321, "feed", feed, "lost", {"back_ms": T0_MS + 12 * MINUTE_MS + 20_999})
    s.agenda.add(
        T0_MS + 12 * MINUTE_MS + 4_321, "psu", site.psu_ids[5], "fail", {"replaced_ms": T0_MS + 44 * MINUTE_MS}
    )
    s.agenda.add(T0_MS + 20 * MINUTE_MS, "ups", site.ups_ids[1], "module_out", {"repaired_ms": T0_MS + 35 * MINUTE_MS})
    s.agenda.add(T0_MS + 30 * MINUTE_MS, "feed", site.feed_ids[1], "sag", {"depth_frac": 0.5, "lasts_s": 0.4}, some)
    s.agenda.add(
        T0_MS + 6 * MINUTE_MS + 77, "node", site.node_ids[9], "signs",
        {"fails_ms": T0_MS + 14 * MINUTE_MS, "repaired_ms": T0_MS + 33 * MINUTE_MS + 1_500},
    )  # fmt: skip
    return s


def plan(site: Site) -> list[Action]:
    """Return a plan that touches the first hall in every modelled way."""
    a, b = site.hall_ids[:2]
    return [
        Action.of("cordon", [a]),
        Action.of("cap_power", [a], cap_frac=0.6),
        Action.of("migrate", [a], to_hall=b, concurrent=2),
        Action.of("drain_at_checkpoint", [a], after_s=180.0),
        Action.of("set_cooling", [b], supply_c=20.0),
        Action.of("start_standby", [site.chiller_ids[-1]]),
        Action.of("ordered_return", [a], when="cooling_back"),
    ]


def apply_plan(state: State, site: Site, at_ms: int) -> None:
    """Write the plan into the agenda."""
    for step in plan(site):
        effects.schedule(state, step, at_ms)
