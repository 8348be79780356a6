"""How long to wait before a source that failed is asked again: doubling, bounded, spread by numbers that repeat."""

from __future__ import annotations

from plant.streams import component_key, uniform

FIRST_S = 1.0
LONGEST_S = 60.0


def delay_s(name: str, failures: int, seed: int = 0, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> float:
    """Seconds to wait after the n-th failure in a row (n >= 1) of the source of this name.

    The envelope doubles from `first_s` to `longest_s`; the wait lies in its upper half, at a place that depends on
    seed, name and n alone, so that sources that died together do not come back together and a run can be repeated.
    """
    envelope_s = min(longest_s, first_s * 2.0 ** min(failures - 1, 60))
    share = float(uniform(seed, "source back-off", 0, component_key(name), failures))
    return envelope_s * (0.5 + 0.5 * share)
