"""The luck of links and switches: how often they fail, in which way, and how long it lasts.

Their hazards are constant (corruption is stable in time and not tied to use, CorrOpt), so a life is drawn once as an
instant instead of being spent step by step. Every number is a pure function of (seed, purpose, member, component,
episode). Sources: notes/incidents.md B.6 and B.8; `[assumed]` where none gives a number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant import streams
from plant.network import DOWN, FLAPPING, LOSSY

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

YEAR_MS = 365.25 * 86_400_000.0

# devices: top-of-rack ~5 % a year, aggregation ~10 % (Gill 2011); Azure's 8 % over all kinds lies between
LEAF_PER_YEAR, SPINE_PER_YEAR = 0.05, 0.10
# links: 0.2 a year in all, the prior of predict/baselines.py; flaps as often as hard failures (3.9 and 4.0 % of
# terminations, Unicron), one in five is corruption (CorrOpt: fewer links than congestion) [assumed]
LINK_PER_YEAR = 0.2
FLAP_SHARE, LOSS_SHARE = 0.4, 0.2
# a switch that is half dead: the share of vendor software bugs among switch failures (CCR 2021), one kind for another
GREY_SHARE = 0.17

# [assumed]: a dead cable or optic is swapped within hours, a switch within a working day
LINK_REPAIR_S, LINK_REPAIR_SIGMA = 2.0 * 3600.0, 1.2
SWITCH_REPAIR_S, SWITCH_REPAIR_SIGMA = 5.0 * 3600.0, 1.2
# [assumed]: nobody sees a grey fault at once: 5 h (AWS Direct Connect Tokyo) to 6.6 h (Cloudflare 2020), notes A.1
GREY_REPAIR_S, GREY_REPAIR_SIGMA = 6.0 * 3600.0, 0.8
# [assumed]: a spell of flaps, each of seconds
SPELL_S, SPELL_SIGMA = 900.0, 1.0
# lost frames of a corrupting link or a grey switch, even on a logarithmic scale from 1e-5 to 1e-2 [assumed]
LOSS_LOW, LOSS_HIGH = 1e-5, 1e-2


def life_ms(seed: int, member: Ints, key: Keys, episode: Ints, per_year: Floats | float) -> Ints:
    """Return how long a link or switch lives from now [ms]; its luck follows its name and episode."""
    life = streams.exponential(seed, "network life", member, key, episode)
    return np.asarray(np.ceil(life / per_year * YEAR_MS)).astype(np.int64)


def link_fault(seed: int, member: Ints, key: Keys, episode: Ints) -> NDArray[np.int8]:
    """Return the phase into which a link falls: DOWN, FLAPPING or LOSSY."""
    u = streams.uniform(seed, "link fault", member, key, episode)
    return np.where(u < FLAP_SHARE, FLAPPING, np.where(u < FLAP_SHARE + LOSS_SHARE, LOSSY, DOWN)).astype(np.int8)


def switch_fault(seed: int, member: Ints, key: Keys, episode: Ints) -> NDArray[np.int8]:
    """Return the phase into which a switch falls: DOWN, or LOSSY (grey)."""
    u = streams.uniform(seed, "switch fault", member, key, episode)
    return np.where(u < GREY_SHARE, LOSSY, DOWN).astype(np.int8)


def loss_frac(seed: int, member: Ints, key: Keys, episode: Ints) -> Floats:
    """Return the share of frames a corrupting link or grey switch loses; stable for the whole episode."""
    u = streams.uniform(seed, "network loss", member, key, episode)
    return np.asarray(LOSS_LOW * (LOSS_HIGH / LOSS_LOW) ** u)


def lasts_ms(seed: int, member: Ints, key: Keys, episode: Ints, phase: NDArray[np.int8], *, switch: bool) -> Ints:
    """Return how long a fault lasts until it ends by itself or is repaired [ms]."""
    z = streams.normal(seed, "network repair", member, key, episode)
    hard = (SWITCH_REPAIR_S, SWITCH_REPAIR_SIGMA) if switch else (LINK_REPAIR_S, LINK_REPAIR_SIGMA)
    median = np.where(phase == LOSSY, GREY_REPAIR_S, np.where(phase == FLAPPING, SPELL_S, hard[0]))
    sigma = np.where(phase == LOSSY, GREY_REPAIR_SIGMA, np.where(phase == FLAPPING, SPELL_SIGMA, hard[1]))
    return np.asarray(np.ceil(median * np.exp(sigma * z) * 1000.0)).astype(np.int64)
