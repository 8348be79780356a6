"""Node types as data: `like = "dgx-h100"` in a site file starts from data/node_types/dgx-h100.toml and overrides it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plant.errors import SiteFileError
from plant.files import DATA, load_toml, read_toml, shipped
from plant.nodechecks import check_node_type
from plant.sitefile import NodeType

FOLDER = "node_types"


def shipped_types() -> tuple[str, ...]:
    """Names of the node types that come with the product."""
    return tuple(sorted(path.stem for path in (DATA / FOLDER).glob("*.toml")))


def load_node_type(name: str | Path) -> NodeType:
    """Read one node type by its shipped name or its path. Raises SiteFileError with every fault."""
    return load_toml(_file(str(name), Path()), NodeType, SiteFileError, [check_node_type], FOLDER)


def with_node_types(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A raw site file whose node types are complete: what each is like, with its own keys on top.

    folder: where the site file stands; a `like` that ends in .toml is looked for there. Raises SiteFileError.
    """
    kinds = raw.get("node_type")
    if not isinstance(kinds, list):
        return dict(raw)
    return {**raw, "node_type": [_complete(kind, folder) for kind in kinds]}


def _complete(kind: Any, folder: Path) -> Any:
    if not isinstance(kind, dict) or not isinstance(kind.get("like"), str):
        return kind
    base = read_toml(_file(kind["like"], folder), SiteFileError, FOLDER)
    return _merged(base, kind)


def _file(name: str, folder: Path) -> Path:
    return folder / name if name.endswith(".toml") else shipped(FOLDER, name)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of both, those of `over` first; tables key by key."""
    out = copy.deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out
