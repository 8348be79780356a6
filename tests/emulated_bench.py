"""The emulated site as a bench for the laws of the ports: two halls of four nodes, two jobs at work, one in line."""

from __future__ import annotations

import copy
import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from plant.site import Site, load_site
from scheduler.emulated import EmulatedScheduler
from twin.commands import Commands
from twin.emulator import Emulator, Scenario
from twin.engine import Engine
from twin.ensemble import make_state
from twin.jobs import make_jobs
from twin.telemetry.memory_store import MemoryStore

START_MS = 1_200_000  # on the grid of 15 s
TINY = Path(__file__).parent.parent / "data" / "sites" / "tiny.toml"
# A node of a site file stands in a rack; the laws name nodes by hall alone.
SHORT, LONG = re.compile(r"^(r/(?:east|west))/(n\d)$"), re.compile(r"^(r/(?:east|west))/k1/(n\d)$")


@lru_cache(maxsize=1)
def bench_site() -> Site:
    """The tiny site with other names and one rack of four nodes in each hall."""
    text = TINY.read_text(encoding="utf-8").replace("lab", "r").replace("r/a", "r/east").replace("r/b", "r/west")
    text = text.replace('id = "a"', 'id = "east"').replace('id = "b"', 'id = "west"')
    for table in re.findall(r"\[\[rack\]\].*?\n\n|\[\[node_type\]\]\nid = \"gpu\".*?\n\n", text, flags=re.DOTALL):
        text = text.replace(table, "")
    for hall in ("east", "west"):
        text += f'\n[[rack]]\nhall = "r/{hall}"\nids = "k1"\nnodes = "n[0-3]"\nnodes_per_rack = 4\nnode_type = "cpu"\n'
    text = text.replace("pue = 1.55\n", "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.toml"
        path.write_text(text, encoding="utf-8")
        return load_site(path)


@lru_cache(maxsize=1)
def settled_site() -> Emulator:
    """An empty emulated site; each bench gives a copy of it its own state and commands."""
    return Emulator(bench_site(), Scenario(1, START_MS, 0.0, {}), MemoryStore())


def renamed(value: Any, pattern: re.Pattern[str], form: str) -> Any:
    """The same plain data with node names in the other form."""
    if isinstance(value, str):
        return pattern.sub(form, value)
    if isinstance(value, list | tuple):
        return [renamed(one, pattern, form) for one in value]
    if isinstance(value, dict):
        return {key: renamed(one, pattern, form) for key, one in value.items()}
    return value


class EmulatedBench:
    """What the laws need of the emulated site; see `SimulatedBench`. Restarting the client leaves the site running."""

    def __init__(self, path: str) -> None:
        """Bring the jobs to work before the laws begin."""
        site = bench_site()
        self.emulator = copy.copy(settled_site())
        self.emulator.store = MemoryStore()
        jobs = make_jobs(
            ["j0", "j1", "q0"],
            kinds=["big_data", "inference", "big_data"],
            arrival_ms=np.full(3, START_MS),
            work_s=np.full(3, 1e12),
            width=np.array([2, 1, 9]),
            priority=np.array([1.0, 5.0, 0.0]),
            checkpoint_s=np.full(3, 600.0),
            state_gb=np.full(3, 100.0),
            home=np.zeros(3),
        )
        state = make_state(site, START_MS, jobs=jobs)
        state.node_stop_c[...], state.node_fails_at[...] = 500.0, 1e9
        self.emulator.engine = Engine(state, site)
        self.emulator.commands = Commands(self.emulator.engine)
        self.emulator._late = []
        self.wait(15.001)
        self.restart()

    def call(self, verb: str, args: dict[str, Any]) -> Any:
        """Carry a request to the emulator, with node names as a site file has them."""
        return renamed(self.emulator.request(verb, renamed(args, SHORT, r"\1/k1/\2")), LONG, r"\1/\2")

    def wait(self, seconds: float) -> None:
        """Let the site live on."""
        self.emulator.advance(self.emulator.now_ms + round(seconds * 1000))

    def person_cordons(self, node: str) -> None:
        """A person takes a node out by hand."""
        self.emulator.commands.person_cordons(SHORT.sub(r"\1/k1/\2", node), "ada")

    def restart(self) -> None:
        """A new client of the same site."""
        self.port = EmulatedScheduler(self.call)

    def effects(self) -> int:
        """How many calls had an effect."""
        return len(self.emulator.commands.log)
