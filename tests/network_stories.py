"""A small site with leaf-spine fabrics and half an hour in which most of what can happen to a network does."""

from __future__ import annotations

import numpy as np
from twin_stories import MINUTE_MS, T0_MS, crisis, tiny

from plant import network as N
from plant.actions import Action
from plant.files import DATA
from plant.networkfile import Fabric
from plant.site import Site
from plant.sitebuild import compile_site, read_site_file
from twin import effects
from twin.ensemble import make_state
from twin.jobs import Jobs, make_jobs
from twin.state import State

UPLINK_GB_PER_S = 10.0
LEAVES, SPINES = 4, 3


def fabric_site(**changes: object) -> Site:
    """The tiny site with four leaves (one rack of four nodes each) on three spines in each hall; 10 GB/s a link."""
    keys = {
        "leaves": f"leaf[1-{LEAVES}]", "spines": f"spine[1-{SPINES}]", "uplink_gbit_per_s": 8 * UPLINK_GB_PER_S,
        "node_gbit_per_s": 800.0, **changes,
    }  # fmt: skip
    file = read_site_file(DATA / "sites" / "tiny.toml")
    fabrics = tuple(Fabric(hall=name, **keys) for name, _ in file.halls())
    return compile_site(file.model_copy(update={"network": fabrics}))


def lasting(site: Site, jobs: Jobs, members: int = 1) -> State:
    """A state in which nothing fails by itself."""
    s = make_state(site, T0_MS, jobs=jobs, members=members)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    s.link_until_ms[...] = s.switch_until_ms[...] = N.NEVER_MS
    return s


def gangs(*widths: int, want: float, home: int = 0, **columns: object) -> Jobs:
    """Endless gangs that arrive at once; each node wants that many GB/s."""
    n = len(widths)
    columns = {"work_s": np.full(n, 1e12), "home": np.full(n, home), "restart_s": np.full(n, 30.0), **columns}
    return make_jobs(
        [f"g{i}" for i in range(n)], arrival_ms=np.full(n, T0_MS), width=np.array(widths),
        net_gb_per_s=np.full(n, want), **columns,
    )  # fmt: skip


def network_crisis(site: Site, members: int) -> State:
    """The tiny site's crisis, its jobs talking, its links and switches failing and being taken out by a plan."""
    plain = crisis(tiny(), members)
    rng = np.random.default_rng(5)
    columns = {name: getattr(plain.jobs, name) for name in ("arrival_ms", "work_s", "share_frac", "activity_frac")}
    columns |= {name: getattr(plain.jobs, name) for name in ("priority", "gpus", "state_gb", "checkpoint_s")}
    jobs = make_jobs(
        list(plain.jobs.ids), width=rng.integers(1, 8, len(plain.jobs)), restart_s=np.full(len(plain.jobs), 90.0),
        net_gb_per_s=rng.choice([0.0, 2.0, 6.0], len(plain.jobs)), home=rng.integers(-1, 2, len(plain.jobs)), **columns,
    )  # fmt: skip
    s = make_state(site, T0_MS, jobs=jobs, members=members, seed=7)
    for seq, entry in plain.agenda.entries.items():
        if entry.kind != "arrivals":
            s.agenda.add(entry.due_ms, entry.kind, entry.component, entry.phase, dict(entry.data), entry.rows)
        assert seq in plain.agenda.entries
    # parts of half the links and switches reach the end of their lives within it
    for name in ("link_until_ms", "switch_until_ms"):
        until = s.arrays[name]
        luck = rng.integers(0, 30 * MINUTE_MS, until.shape)
        until[...] = np.where(rng.random(until.shape) < 0.5, T0_MS + luck, until)
    leaf, link = site.network.leaf_ids[1], site.network.uplink_ids[7]
    some = tuple(range(0, members, 2))
    story(s, "switch", leaf, N.DOWN, 3, 22)
    story(s, "switch", site.network.spine_ids[0], N.LOSSY, 8, 25, 0.01, some)
    story(s, "link", link, N.LOSSY, 4, 28, 0.02)
    story(s, "link", site.link_ids[0], N.FLAPPING, 7, 20)
    for step in (
        Action.of("disable_link", [link], after_s=60.0),
        Action.of("migrate", [site.hall_ids[0]], to_hall=site.hall_ids[1], concurrent=3),
    ):
        effects.schedule(s, step, T0_MS + 6 * MINUTE_MS)
    return s


def story(
    s: State, kind: str, part: str, fault: int, at_min: float, back_min: float, loss: float = 0.0, rows: object = None
) -> None:
    """Write one fault of a link or switch into the agenda."""
    data = {"fault": fault, "loss_frac": loss, "repaired_ms": T0_MS + int(back_min * MINUTE_MS)}
    s.agenda.add(T0_MS + int(at_min * MINUTE_MS) + 77, kind, part, "fault", data, rows)
