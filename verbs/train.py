"""`foretwin train`: emulate histories of a site, fit the network, write weights and card. All of it simulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from plant.files import shipped
from plant.site import load_site
from predict.emulate import emulate_histories
from predict.train import TrainSettings, train, write

MEMBERS = 96  # site lives emulated; each gives a history per loop and a few racks


def run(
    site: str | Path,
    seed: int,
    out: Path,
    trained_at: str,
    *,
    members: int = MEMBERS,
    told: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return the `results` object of the verb after writing the model under `out`.

    site: path or shipped name; members: how many lives to emulate; trained_at: the instant for the card, from the
    front door's clock; told(done, of) hears the progress of the emulation.
    """
    histories = emulate_histories(load_site(shipped("sites", site)), members, seed, told=told)
    trained = train(histories, TrainSettings(seed=seed))
    command = f"foretwin train --site {site} --seed {seed}"
    command += "" if members == MEMBERS else f" --members {members}"
    folder = write(trained, out, command=command, seed=seed, site=str(site), trained_at=trained_at)
    return {"ok": True, "path": str(folder), "items": [{"model": folder.name, **trained.counts}], "simulated": True}
