"""Reads a TOML file into a frozen pydantic model; every fault at once."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from plant.errors import Fault, ForetwinError

M = TypeVar("M", bound=BaseModel)


def load_toml(
    path: str | Path,
    model: type[M],
    error_class: type[ForetwinError],
    checks: Sequence[Callable[[M], list[Fault]]] = (),
) -> M:
    """Read and validate; raise error_class with every fault."""
    raw = tomllib.loads(Path(path).read_text())
    try:
        return model.model_validate(raw)
    except ValidationError as err:
        raise error_class(faults=[Fault(str(e["loc"]), str(e["input"]), e["msg"]) for e in err.errors()]) from None
