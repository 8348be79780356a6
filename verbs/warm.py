"""Compile the fast kernels once, so that no first run waits for them: `make setup` calls this."""

from __future__ import annotations

from plant.network import DOWN
from plant.site import load_site
from recovery.livetwin import LiveTwin
from twin.emulator import Emulator, Scenario
from twin.engine import run
from twin.telemetry.memory_store import MemoryStore
from verbs.bench_scene import START_MS, day

SITES = ("hall", "fabric", "liquid")  # together they have accelerators, fabrics, chiller control and CDUs
LIVED_MS = 1_800_000
FOLLOWED, TICK_MS = 12, 15_000


def main() -> None:
    """Let sites live an hour, the second half with a link lost, with one member and with two; follow one by readings.

    Numba keeps what it compiles beside its source.
    """
    for name in SITES:
        site = load_site(name)
        for members in (1, 2):
            state = run(day(site, members, 0), site, START_MS + LIVED_MS)
            state.link_phase[:, -1:] = DOWN  # what gangs get of a fabric that is not whole has kernels of its own
            run(state, site, START_MS + 2 * LIVED_MS)
    follow()


def follow(name: str = "hall", ticks: int = FOLLOWED) -> LiveTwin:
    """Let a twin follow an emulated site by its readings, long enough for all that sync computes."""
    site, store, cursor = load_site(name), MemoryStore(), 0
    emulator = Emulator(site, Scenario(0, START_MS, 1.0, dict.fromkeys(site.hall_ids, 0.5)), store)
    twin = LiveTwin(site, START_MS, members=2, seed=0)
    for k in range(1, ticks + 1):
        now_ms = START_MS + k * TICK_MS
        emulator.advance(now_ms)
        twin.advance(now_ms)
        batch, cursor = store.tail(cursor)
        twin.correct(batch, now_ms)
    return twin


if __name__ == "__main__":
    main()
