"""Models on disk: plain arrays and a card. Nothing that is loaded can run code, and a changed file is refused.

`<root>/<class>/<hash>/{weights.npz, card.json}`; the card states kinds, horizons, training command, data, sha256.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.errors import ModelNotTrained
from predict.encoder import SHAPES, Encoder
from predict.features import INPUTS, MOMENT
from predict.survival import HORIZONS_S

FORMAT = 1
WEIGHTS, CARD = "weights.npz", "card.json"
UNFINISHED = "new"  # where a save works; renamed when it is whole
CURE = "train it again: foretwin train --site data/sites/hall.toml --seed 0"
LIMIT_BYTES = 2_000_000


@dataclass(frozen=True)
class Model:
    """A trained network ready to score: encoder, the kinds it knows in code order, calibration (kinds, 2), card."""

    encoder: Encoder
    kinds: tuple[str, ...]
    calibration: NDArray[np.float64]
    card: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Short name of these weights, as it stands in every risk they gave."""
        return f"{self.card['class']}-{self.card['sha256'][:12]}"


def save(root: Path, arrays: Mapping[str, NDArray[Any]], card: Mapping[str, Any]) -> Path:
    """Write weights and card under `root/<class>/<hash>/`; return that folder. `arrays` holds `calibration` too."""
    made = root / str(card["class"]) / UNFINISHED
    made.mkdir(parents=True, exist_ok=True)
    stored = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    with zipfile.ZipFile(made / WEIGHTS, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(stored):
            # a fixed date: the same weights are the same bytes, whenever they are written
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w") as out:
                np.lib.format.write_array(out, np.ascontiguousarray(stored[name]), allow_pickle=False)
    digest = hashlib.sha256((made / WEIGHTS).read_bytes()).hexdigest()
    full = {"format": FORMAT, **card, "sha256": digest, "bytes": (made / WEIGHTS).stat().st_size}
    (made / CARD).write_text(json.dumps(full, indent=1, sort_keys=True) + "\n")
    folder = made.with_name(digest[:16])
    if folder.exists():
        for name in (WEIGHTS, CARD):
            (made / name).replace(folder / name)
        made.rmdir()
    else:
        made.rename(folder)
    return folder


def load(folder: Path, dtype: type = np.float32) -> Model:
    """Read a model; ModelNotTrained if it is absent, altered, of another format, or holds anything but arrays."""
    card = _card(folder)
    arrays = _arrays(folder, str(card["sha256"]))
    kinds = tuple(card["kinds"])
    _check_shapes(folder, arrays, len(kinds))
    return Model(Encoder(arrays, dtype), kinds, arrays["calibration"].astype(float), card)


def newest(root: Path) -> Model | None:
    """Return the model trained last under `root` (by the card's `trained_at`, then name), or None if there is none."""
    folders = [path.parent for path in root.glob(f"*/*/{CARD}") if path.parent.name != UNFINISHED]
    cards = [(str(_card(folder).get("trained_at", "")), folder) for folder in folders]
    return load(max(cards)[1]) if cards else None


def _card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    if not path.is_file():
        raise ModelNotTrained(str(path), "no such file", "a folder with weights and card", CURE)
    try:
        card = json.loads(path.read_text())
    except ValueError as error:
        raise ModelNotTrained(str(path), f"not readable as JSON ({error})", "the card as written", CURE) from None
    needed = {"format", "sha256", "kinds", "class", "horizons_s"}
    if not isinstance(card, dict) or not needed <= set(card):
        raise ModelNotTrained(str(path), "keys are missing", f"at least {', '.join(sorted(needed))}", CURE)
    if card["format"] != FORMAT or tuple(card["horizons_s"]) != HORIZONS_S:
        raise ModelNotTrained(str(path), "made by another version", f"format {FORMAT} and the bins of this one", CURE)
    return card


def _arrays(folder: Path, sha256: str) -> dict[str, NDArray[Any]]:
    path = folder / WEIGHTS
    if not path.is_file() or path.stat().st_size > LIMIT_BYTES:
        raise ModelNotTrained(str(path), "absent or too large", f"a file of at most {LIMIT_BYTES} bytes", CURE)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ModelNotTrained(
            str(path), f"sha256 is {found[:12]}…, the card says {sha256[:12]}…", "unchanged weights", CURE
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, TypeError, AttributeError) as error:
        raise ModelNotTrained(str(path), f"holds something else than arrays ({error})", "arrays only", CURE) from None
    if not all(isinstance(array, np.ndarray) and array.dtype.kind == "f" for array in arrays.values()):
        raise ModelNotTrained(str(path), "holds something else than arrays of numbers", "arrays only", CURE)
    return arrays


def _check_shapes(folder: Path, arrays: Mapping[str, NDArray[Any]], kinds: int) -> None:
    """Every array present, of the shape the network needs, and finite."""
    known: dict[str, int] = {"x": INPUTS, "kinds": kinds, "k": len(HORIZONS_S)}
    hidden, embed = (arrays[name].shape[-1] if name in arrays else 0 for name in ("lstm.weight_hh_l0", "kind.weight"))
    known |= {"h": hidden, "4h": 4 * hidden, "e": embed, "h+e+s": hidden + embed + MOMENT}
    wanted = {name: tuple(known[axis] for axis in axes) for name, axes in SHAPES.items()} | {"calibration": (kinds, 2)}
    for name, shape in wanted.items():
        if name not in arrays or arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            found = "absent" if name not in arrays else f"of shape {arrays[name].shape} or not finite"
            raise ModelNotTrained(str(folder / WEIGHTS), f"{name} is {found}", f"finite, of shape {shape}", CURE)
