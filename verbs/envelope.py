"""What `--json` prints: the envelope of an answer, that of a refusal, and values that are always finite JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plant.errors import ForetwinError

DISTRIBUTION = "foretwin"


def version() -> str:
    """The version of this checkout, from pyproject.toml beside it or from the installed distribution."""
    import tomllib
    from importlib import metadata

    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    return metadata.version(DISTRIBUTION)


def answer(command: str, seed: int, inputs: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope of an answer."""
    head = {"command": command, "version": version(), "seed": seed}
    return {**head, "inputs": finite(dict(inputs)), "results": finite(dict(results))}


def refusal(command: str, error: ForetwinError) -> dict[str, Any]:
    """The envelope of a refusal: the first fault in `error`, all of them in `error.faults` when there are several."""
    return {"command": command, "version": version(), "error": error.as_dict()}


def text(envelope: Mapping[str, Any]) -> str:
    """One JSON object on one line; ValueError if a number in it is not finite."""
    return json.dumps(envelope, allow_nan=False, ensure_ascii=False)


def finite(value: Any) -> Any:
    """The value as plain JSON: NaN and infinity become null, and the key beside it, `<key>_reason`, says which it was.

    >>> finite({"mttr_s": float("nan")})
    {'mttr_s': None, 'mttr_s_reason': 'not a number'}
    """
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [finite(one) for one in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _foreign(value)


def _object(value: Mapping[Any, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, one in value.items():
        plain[str(key)] = finite(one)
        why = _why_absent(one)
        if why and f"{key}_reason" not in value:
            plain[f"{key}_reason"] = why
    return plain


def _why_absent(value: Any) -> str:
    """Why a number, or one in a list of numbers, is printed as null; empty when none is."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return "" if math.isfinite(value) else "not a number" if math.isnan(value) else "infinite"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return next((why for one in value if (why := _why_absent(one))), "")
    return ""


def _foreign(value: Any) -> Any:
    """Arrays and their numbers, paths, instants; everything else as its text."""
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
