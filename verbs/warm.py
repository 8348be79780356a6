"""Compile the fast kernels once, so that no first run waits for them: `make setup` calls this."""

from __future__ import annotations

from plant.site import load_site
from twin.engine import run
from verbs.bench_scene import START_MS, day

LIVED_MS = 3_600_000


def main() -> None:
    """Let a small site live an hour with one member and with two: numba keeps what it compiles beside its source."""
    site = load_site("tiny")
    for members in (1, 2):
        run(day(site, members, 0), site, START_MS + LIVED_MS)


if __name__ == "__main__":
    main()
