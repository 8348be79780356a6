"""`foretwin bench reliability --case C`: histories of one gang job beside those of a peer, and what each costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import ConfigError
from plant.reliabilityfile import PeerTable, load_case
from twin.reliability import simulate
from verbs.meter import Meter

LEVEL = 0.99
NEAR_FRAC = 0.01  # the mean must also lie this near the peer's


def run(case: str, members: int = 100, seed: int = 0) -> dict[str, Any]:
    """Return the `results` of contracts.md and the comparison; raises ConfigError for a case that cannot be used."""
    if members < 2:
        raise ConfigError("--members", f"{members}", "at least 2", "a spread needs two histories")
    chosen = load_case(case)
    meter = Meter()
    lived = simulate(chosen, members, seed)
    cpu_s = meter.read()["cpu_s"] / members
    found = {
        "case": case,
        "members": members,
        "training_min_mean": float(lived.training_min.mean()),
        "training_min_sd": float(lived.training_min.std(ddof=1)),
        "failures_mean": float(lived.failures.mean()),
        "failures_sd": float(lived.failures.std(ddof=1)),
        "manual_repairs_mean": float(lived.manual_repairs.mean()),
        "host_selections_mean": float(lived.host_selections.mean()),
        "spares_moved_mean": float(lived.spares_moved.mean()),
        "cpu_s_per_member": cpu_s,
        "simulated": True,
    }
    return found | (_beside(chosen.peer, lived.training_min, lived.failures, cpu_s) if chosen.peer else {})


def _beside(peer: PeerTable, training_min: NDArray[Any], failures: NDArray[Any], cpu_s: float) -> dict[str, Any]:
    """The peer's figures, our difference to them with its interval, and the ratio of costs."""
    n = peer.histories
    training = difference(training_min, peer.training_min_mean, peer.training_min_sd, n)
    failed = difference(failures, peer.failures_mean, peer.failures_sd, n)
    rows = {"training_min": training, "failures": failed}
    near = all(abs(row["rel"]) <= NEAR_FRAC and row["agrees"] for row in rows.values())
    return {
        "peer": peer.model_dump(),
        "difference": rows,
        "agrees": near,
        "times_faster": peer.cpu_s_per_history / max(cpu_s, 1e-9),
        "ok": near,
    }


def difference(ours: NDArray[Any], mean: float, sd: float, n: int) -> dict[str, Any]:
    """Mean of ours minus a given mean with Welch's interval at LEVEL; they agree when it holds zero."""
    from scipy import stats

    a, b = float(ours.var(ddof=1)) / len(ours), sd * sd / n
    freedom = (a + b) ** 2 / (a * a / (len(ours) - 1) + b * b / (n - 1))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * float(np.sqrt(a + b))
    found = float(ours.mean()) - mean
    low, high = found - half, found + half
    return {"found": found, "rel": found / mean, "level": LEVEL, "interval": [low, high], "agrees": low <= 0.0 <= high}
