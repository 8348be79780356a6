"""Compile the fast kernels once, so that no first run waits for them: `make setup` calls this."""

from __future__ import annotations

from plant.network import DOWN
from plant.site import load_site
from twin.engine import run
from verbs import bench_sync
from verbs.bench_scene import START_MS, day

SITES = ("hall", "fabric", "liquid")  # together they have accelerators, fabrics, chiller control and CDUs
LIVED_MS = 1_800_000


def main() -> None:
    """Let sites live an hour, the second half with a link lost, with one member and with two; take in readings.

    Numba keeps what it compiles beside its source.
    """
    for name in SITES:
        site = load_site(name)
        for members in (1, 2):
            state = run(day(site, members, 0), site, START_MS + LIVED_MS)
            state.link_phase[:, -1:] = DOWN  # what gangs get of a fabric that is not whole has kernels of its own
            run(state, site, START_MS + 2 * LIVED_MS)
    for members in (1, 2):
        bench_sync.run(members=members, nodes=100, tries=1)


if __name__ == "__main__":
    main()
