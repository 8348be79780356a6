"""What a twin has learned of hidden parameters: bands before and after, and where the truth lies. Simulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.site import Site
from twin.derived import Derived
from twin.layout import layout_of, segment_sum
from twin.state import State
from verbs.trial_run import Trial

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Z90 = 1.6449  # half width of the middle 90 % of a normal distribution, in standard deviations
LEAST_KW = 1e-6  # less is nothing


@dataclass(frozen=True)
class Parameter:
    """One parameter of every component of a kind: its value (M, C), in the logarithm unless it is an offset."""

    name: str
    kind: str
    value: Callable[[Site, State], Array]
    meaning: str


def _time_constant(site: Site, s: State) -> Array:
    return np.log(s.rack_mass_kj_per_k * (1.0 / s.rack_ua_kw_per_k + 1.0 / s.rack_flow_kw_per_k))


def _capacity(site: Site, s: State) -> Array:
    duty = np.where(site.chiller_standby, 0.0, s.chiller_capacity_kw)
    return np.log(np.maximum(segment_sum(duty, layout_of(site).loop_chillers), 1e-9))


CURVE = ("node_power_scale", "rack_idle_scale", "rack_bend_scale", "rack_psu_loss_scale")
"""What makes the power of a node out of its work; a node at idle tells none of them from the others."""


def node_power(site: Site, s: State) -> Array:
    """Power that each node draws at its present work [kW] in the logarithm, as its meter shows it (M, N)."""
    return np.asarray(np.log(np.maximum(Derived(site, s, layout_of(site)).node_kw, LEAST_KW)))


def _at_this_work(told: State, prior: State) -> State:
    """The twin as it is told, with what it believed of power before the first reading."""
    out = told.fork()
    for name in CURVE:
        out.arrays[name] = prior.arrays[name].copy()
    return out


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("rack_flow", "rack", lambda site, s: np.log(s.rack_flow_kw_per_k), "air flow of the rack"),
    Parameter("rack_time_constant", "rack", _time_constant, "C (1/UA + 1/m): how slowly the outlet follows its power"),
    Parameter("rack_mass", "rack", lambda site, s: np.log(s.rack_mass_kj_per_k), "heat capacity alone"),
    Parameter("rack_ua", "rack", lambda site, s: np.log(s.rack_ua_kw_per_k), "conductance alone"),
    Parameter(
        "rack_recirc",
        "rack",
        lambda site, s: np.log(np.maximum(s.rack_recirc_frac, 1e-4)),
        "share of hot air at the inlet",
    ),
    Parameter("rack_air", "rack", lambda site, s: np.log(s.rack_air_kj_per_k), "heat capacity of its air"),
    Parameter("node_power", "node", node_power, "power of the node at its present work"),
    Parameter("loop_water", "loop", lambda site, s: np.log(s.loop_water_kj_per_k), "heat capacity of the water loop"),
    Parameter("loop_capacity", "loop", _capacity, "capacity of the loop's chillers on duty"),
)


@dataclass(frozen=True)
class Learned:
    """One parameter of the components of one trial: offsets from the prior mean, shape (C,)."""

    truth: Array
    prior_sd: Array
    mean: Array
    sd: Array
    excited: Flags


def learned(trial: Trial, who: str, excited: Mapping[str, Flags]) -> dict[str, Learned]:
    """Return what one twin learned in one trial; excited: by parameter, decided before (verbs/trial_excited.py)."""
    twin, site = trial.twins[who], trial.story.site
    truth = trial.told
    out = {}
    for p in PARAMETERS:
        posterior, true = p.value(site, twin.told), p.value(site, truth)[0]
        prior = p.value(site, twin.prior)
        shown = excited.get(p.name, np.zeros(len(true), dtype=bool))
        if p.kind == "node":
            prior = p.value(site, _at_this_work(twin.told, twin.prior))
            shown = shown & (true > np.log(LEAST_KW))  # a node that is off has no work
        out[p.name] = Learned(
            true - prior.mean(axis=0), prior.std(axis=0, ddof=1), (posterior - prior.mean(axis=0)).mean(axis=0),
            posterior.std(axis=0, ddof=1), shown,
        )  # fmt: skip
    return out


def table(trials: Sequence[dict[str, Learned]], who: str) -> list[dict[str, Any]]:
    """Return one row for each parameter, over components and seeds; figures are of its excited components.

    A parameter that is excited nowhere shows those of all components instead, for what they are.
    """
    rows = []
    for p in PARAMETERS:
        parts = [t[p.name] for t in trials]
        excited = np.concatenate([part.excited for part in parts])
        which = excited if excited.any() else np.ones(len(excited), dtype=bool)
        truth, prior_sd, mean, sd = (
            np.concatenate([getattr(part, name) for part in parts])[which]
            for name in ("truth", "prior_sd", "mean", "sd")
        )
        error, before = np.abs(mean - truth), np.abs(truth)
        rows.append({
            "parameter": p.name, "correction": who, "excited": bool(excited.any()), "n": int(which.sum()),
            "excited_frac": float(excited.mean()), "prior_band90": float(2.0 * Z90 * prior_sd.mean()),
            "band90": float(2.0 * Z90 * sd.mean()), "band_ratio": float(sd.mean() / prior_sd.mean()),
            "truth_inside": float((error <= Z90 * sd).mean()), "prior_error": float(before.mean()),
            "error": float(error.mean()), "error_ratio": float(error.mean() / before.mean()),
            "error_in_sd": float(np.sqrt(np.mean((error / sd) ** 2))), "meaning": p.meaning,
        })  # fmt: skip
    return rows
