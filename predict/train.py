"""Training: histories in, a folder with weights and card out. Imports torch only when it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import ModelNotTrained
from predict import calibrate
from predict.baselines import BASE_RATES
from predict.encoder import Encoder
from predict.features import INPUTS, MOMENT
from predict.histories import History, Samples, samples
from predict.registry import save
from predict.survival import HORIZONS_S, exposure, fail_prob

Array = NDArray[np.float64]

HORIZON_H = np.array(HORIZONS_S) / 3600.0


@dataclass(frozen=True)
class TrainSettings:
    """How to train; the defaults are what the shipped model was trained with."""

    seed: int = 0
    hidden: int = 24
    embed: int = 4
    epochs: int = 16
    batch: int = 512
    rate: float = 4e-3
    later_frac: float = 0.3  # the last share of the histories calibrates and is never trained on


@dataclass(frozen=True)
class Trained:
    """Arrays of the network with its calibration, and the counts that go onto the card."""

    arrays: Mapping[str, NDArray[Any]]
    counts: Mapping[str, Any]


def train(histories: Sequence[History], settings: TrainSettings | None = None) -> Trained:
    """Fit network and calibration. ModelNotTrained when the histories hold no failure to learn from.

    Failures and near misses are far more than nature has; their windows are weighted back to the natural rate of
    their kind, so that the probabilities mean what they say.
    """
    chosen = settings or TrainSettings()
    kinds = tuple(sorted({history.kind for history in histories if history.event_ms is not None}))
    if not kinds:
        raise ModelNotTrained("histories", "no failure among them", "at least one failing history", "emulate more")
    used = [history for history in histories if history.kind in kinds]
    first = round(len(used) * (1.0 - chosen.later_frac))
    everything = samples(used, kinds)
    weight = natural_weight(everything, used, kinds)
    earlier = everything.history < first
    network = _fit(everything.pick(earlier), weight[earlier], kinds, chosen)
    later = everything.pick(~earlier)
    table = _calibration(network, later, weight[~earlier], kinds)
    counts = {
        "histories": {kind: sum(history.kind == kind for history in used) for kind in kinds},
        "failures": {
            kind: sum(history.kind == kind and history.event_ms is not None for history in used) for kind in kinds
        },
        "hours": round(sum(history.hours for history in used), 1),
        "windows": len(everything.kind),
        "windows_later_block": len(later.kind),
    }
    return Trained({**network, "calibration": table}, counts)


def natural_weight(cut: Samples, histories: Sequence[History], kinds: Sequence[str]) -> Array:
    """Return one weight per sample: component time it stands for, rare histories scaled to the base rate of failures.

    Near misses keep the proportion to failures that they were made in. Normalised so that samples of rare histories
    weigh 1 on average.
    """
    rare = np.array([history.rare or history.event_ms is not None for history in histories])[cut.history]
    weight = cut.span_s / 3600.0
    for code, kind in enumerate(kinds):
        failures = sum(history.kind == kind and history.event_ms is not None for history in histories)
        mine = cut.kind == code
        quiet_h = weight[mine & ~rare].sum()
        weight[mine & rare] *= BASE_RATES[kind].mean_per_h * max(quiet_h, 1.0) / max(failures, 1)
    return np.asarray(weight / weight[rare].mean())


def hazards_of(weights: Mapping[str, NDArray[Any]], cut: Samples, table: Array) -> Array:
    """Return calibrated hazards (n, bins) of samples."""
    logits = Encoder(weights).logits(cut.window, cut.kind, cut.moment).astype(float)
    return calibrate.hazards(logits, cut.kind, table)


def write(trained: Trained, root: Path, *, command: str, seed: int, site: str, trained_at: str) -> Path:
    """Write the model with its card under `root`; return its folder."""
    card = {
        "class": "cooling",
        "kinds": list(trained.counts["failures"]),
        "horizons_s": list(HORIZONS_S),
        "command": command,
        "seed": seed,
        "site": site,
        "trained_at": trained_at,
        "data": "emulated",
        "simulated": True,
        "note": "trained on emulated histories only; no figure from them is a statement about real equipment",
        "counts": dict(trained.counts),
    }
    return save(root, trained.arrays, card)


def _fit(cut: Samples, weight: Array, kinds: Sequence[str], chosen: TrainSettings) -> dict[str, NDArray[Any]]:
    import logging
    import warnings

    import torch

    from predict.model import HazardNet

    # one thread: sums then have one order, and the same seed gives the same weights on any number of cores
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(chosen.seed)
    network = HazardNet(INPUTS, MOMENT, len(kinds), len(HORIZONS_S), chosen.hidden, chosen.embed, chosen.rate)
    network.start_from(torch.tensor(_base_hazards(kinds), dtype=torch.float32))
    network.epochs = chosen.epochs
    survived, failed = exposure(cut.event_s, cut.censor_s)
    columns = (cut.window.transpose(1, 0, 2), cut.kind, cut.moment, survived, failed, weight)
    tensors = [
        torch.as_tensor(np.ascontiguousarray(x, np.int64 if x.dtype == np.int64 else np.float32)) for x in columns
    ]
    shuffled = torch.Generator().manual_seed(chosen.seed)
    loader = torch.utils.data.DataLoader(
        _Rows(tensors),
        batch_size=None,
        sampler=torch.utils.data.BatchSampler(
            torch.utils.data.RandomSampler(range(len(cut.kind)), generator=shuffled), chosen.batch, drop_last=False
        ),
    )
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _trainer(chosen.epochs).fit(network, loader)
    torch.set_num_threads(threads)
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


class _Rows:
    """Rows of several tensors at once: indexing a whole batch is far quicker than collating single samples."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: Any) -> tuple[Any, ...]:
        return tuple(tensor[rows] for tensor in self.tensors)


def _trainer(epochs: int) -> Any:
    import pytorch_lightning as pl

    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
    )


def _base_hazards(kinds: Sequence[str]) -> Array:
    """Hazard of each bin at the mean base rate of the kinds, (bins,)."""
    rate_per_h = np.mean([BASE_RATES[kind].mean_per_h for kind in kinds])
    return np.asarray(-np.expm1(-rate_per_h * np.diff(HORIZON_H, prepend=0.0)))


def _calibration(weights: Mapping[str, NDArray[Any]], later: Samples, weight: Array, kinds: Sequence[str]) -> Array:
    logits = Encoder(weights).logits(later.window, later.kind, later.moment).astype(float)
    return calibrate.fit(logits, later.kind, later.event_s, later.censor_s, weight, kinds)


def simulated_fit(trained: Trained, cut: Samples, weight: Array) -> dict[str, float]:
    """Return observed over expected failures within the hour on samples: a check of the plumbing, not of skill."""
    table = np.asarray(trained.arrays["calibration"], float)
    p = fail_prob(hazards_of(trained.arrays, cut, table))[:, HORIZONS_S.index(3600)]
    known = np.isfinite(cut.event_s) | (cut.censor_s >= 3600)
    happened = (cut.event_s <= 3600) & known
    expected = float((weight * p)[known].sum())
    return {"observed_over_expected": float((weight * happened)[known].sum()) / max(expected, 1e-12)}
