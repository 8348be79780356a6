"""`foretwin site import LIST`: a site file from a scheduler's node list or a table of nodes.

What the list does not say (power, racks, cooling) is assumed, written into the file as such and printed.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from plant.errors import ConfigError
from plant.nodekinds import TypeRule
from plant.nodelist import NodeList, shortened
from plant.nodetable import BINARY, once, read_table
from plant.sitedraft import Wish, draft
from plant.sitetext import site_text
from plant.slurmnodes import is_slurm_text, read_json, read_text

LARGEST_MB = 200
LISTS = "scontrol show node, sinfo --json, slurm.conf, CSV, or Parquet with --column"


def run(
    file: str,
    *,
    out: str = "",
    force: bool = False,
    column: str = "",
    name: str = "",
    region: str = "site",
    rack_from: str = "",
    hall_from: str = "",
    nodes_per_rack: int = 0,
    pue: float | None = None,
    types: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Write the site file; return its path, counts and what was assumed.

    Raises ConfigError (the list, an option, a file in the way) and SiteFileError (the list makes no sound site).
    """
    path = Path(out) if out else Path(f"{_stem(name or Path(file).stem)}.toml")
    if path.exists() and not force:
        raise ConfigError("--out", f"{path} exists", "a new file", "name another with --out, or say --force")
    if _stem(region) != region:
        raise ConfigError("--region", f"'{region}'", "letters, digits, . _ -", f"for example {_stem(region)}")
    found = read_list(file, column).sound(Path(file).name)
    wish = Wish(
        _stem(name or path.stem), region, rack_from, hall_from, nodes_per_rack, pue,
        tuple(TypeRule.parse(text) for text in types),
    )  # fmt: skip
    made = draft(found, wish)
    head = f"{len(found.nodes)} nodes of {Path(file).name}, imported by foretwin site import."
    _write(path, site_text({"name": made.raw["name"], **made.raw}, made.notes, head), found)
    counts = made.site.counts()
    return {
        "ok": True,
        "path": str(path),
        "site": made.site.name,
        "hash": made.site.hash,
        "counts": {kind: counts[kind] for kind in ("hall", "rack", "node")},
        "accelerators": int(made.site.node_gpus.sum()),
        "design_kw": float(made.site.hall_design_kw.sum()),
        "items": [note.as_dict() for note in made.notes],
    }


def _stem(text: str) -> str:
    import re

    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "site"


def read_list(file: str, column: str = "") -> NodeList:
    """The nodes of a file, whatever wrote it. Raises ConfigError where it cannot be read at all."""
    path = Path(file)
    try:
        if path.stat().st_size > LARGEST_MB * 1_000_000:
            raise ConfigError(str(path), f"is larger than {LARGEST_MB} MB", "a list of nodes")
        content = path.read_bytes()
    except IsADirectoryError:
        raise ConfigError(str(path), "is a folder", "a list of nodes") from None
    except FileNotFoundError:
        raise ConfigError(str(path), "no such file", "", "check the path") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", "", "check path and permissions") from None
    if content[:4] == b"PAR1":
        return _parquet(path, column)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at {error.start} is not UTF-8"
        raise ConfigError(path.name, found, LISTS, "save it as UTF-8 text") from None
    if BINARY.search(text):
        raise ConfigError(path.name, "is no text", LISTS, "is it the right file?")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise ConfigError(path.name, "is empty", LISTS, "write the list again")
    if text.lstrip().startswith(("{", "[")):
        return read_json(text)
    return read_text(text) if is_slurm_text(text) and not column else read_table(text, column)


def _parquet(path: Path, column: str) -> NodeList:
    """The distinct values of one column of a Parquet file."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        if column not in names:
            found = f"no column '{column}'" if column else "a Parquet file has many columns"
            raise ConfigError(path.name, found, f"one of {' '.join(names)}", "name the node's column: --column NAME")
        values = pc.unique(pq.read_table(path, columns=[column])[column]).to_pylist()
    except pa.ArrowException as error:
        raise ConfigError(path.name, f"cannot be read: {str(error)[:120]}", "a Parquet file") from None
    return once(NodeList(), values, column)


def _write(path: Path, text: str, found: NodeList) -> None:
    """Write beside the target, read it as `site check` would, and only then put it in place."""
    from plant.site import load_site

    beside = path.with_name(f".{path.name}.{os.getpid()}.toml")
    try:
        beside.write_text(text, encoding="utf-8")
        names = Counter(node.rpartition("/")[2] for node in load_site(beside).node_ids)
        lost = [node.name for node in found.nodes if names[node.name] != 1]
        if lost or len(names) != len(found.nodes):
            raise ConfigError(path.name, f"the draft does not hold {shortened(lost)}", "", "tell us: this is a fault")
        os.replace(beside, path)
    except OSError as error:
        cure = "name a file in a folder that exists and may be written"
        raise ConfigError("--out", f"{path}: {error.strerror}", "a file", cure) from None
    finally:
        beside.unlink(missing_ok=True)
