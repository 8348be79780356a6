"""Node lists as tables: a CSV with one row per node, whose columns are known by their names, or one named column.

What a column was taken for is noted; a column that says nothing about a site is named as left out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from plant.errors import Fault
from plant.nodelist import NodeFound, NodeList, Note
from plant.references import did_you_mean
from plant.slurmtext import accelerators, hosts, states

ALIASES: dict[str, tuple[str, ...]] = {
    "name": ("nodelist", "node", "name", "nodename", "hostname", "host", "hosts", "nodes", "server", "servername",
             "machine", "fqdn", "instance", "component", "systemname", "device", "devicename", "asset"),
    "rack": ("rack", "rackid", "rackname", "cabinet", "racklocation", "cab"),
    "hall": ("hall", "room", "datahall", "zone", "suite", "pod", "module", "location", "dc", "datacenter",
             "datacentre"),
    "region": ("region", "campus", "site", "city"),
    "kind": ("type", "nodetype", "model", "sku", "kind", "hardware", "hwtype", "product", "devicetype"),
    "peak_kw": ("peakkw", "maxkw", "powerkw", "peakw", "maxw", "maxpowerw", "peakpowerw", "tdpw", "ratedw", "powerw",
                "nameplatew", "peakpowerkw", "maxpowerkw", "ratedkw", "maxwatts", "peakwatts", "watts"),
    "idle_kw": ("idlekw", "idlew", "idlepowerw", "idlepowerkw", "minw", "minkw", "idlewatts"),
    "gpus": ("gpus", "gpu", "gpucount", "ngpus", "numgpus", "accelerators", "gres", "acceleratorcount"),
    "gpu": ("gpumodel", "gputype", "accelerator", "gpuname"),
    "cores": ("cores", "cpucores", "physicalcores", "ncores", "numcores", "totalcores"),
    "threads": ("cpus", "cpu", "ncpus", "vcpus", "threads", "numcpus", "cpucount"),
    "features": ("features", "feature", "availablefeatures", "availfeatures", "activefeatures", "labels"),
    "state": ("state", "status", "nodestate"),
}  # fmt: skip
"""What the columns of each meaning are usually called, in lower case and without anything but letters and digits."""
_IN_KW = frozenset(
    {"peakkw", "maxkw", "powerkw", "peakpowerkw", "maxpowerkw", "ratedkw", "idlekw", "idlepowerkw", "minkw"}
)  # the other names of power end in a W of their own
_NODE = re.compile(r"^[A-Za-z0-9._-]*\d[A-Za-z0-9._-]*$")
BINARY = re.compile("[\x00-\x08\x0e-\x1f]")


def read_table(text: str, column: str = "") -> NodeList:
    """The nodes of a CSV text. `column` names the node's column and lets names repeat, as in a table of readings."""
    out = NodeList()
    rows = _rows(text)
    if not rows:
        return out
    head, body = [cell.strip() for cell in rows[0][1]], rows[1:]
    meant = meaning_of(head)
    if not column and "name" not in meant and len(head) == 1 and _NODE.match(head[0]):
        out.notes.append(Note("no header", head[0], "one column and no known name above it: taken for a plain list"))
        head, body, meant = ["node"], rows, {"name": 0}
    if column:
        if column not in head:
            known = ", ".join(head)
            out.faults.append(Fault("", f"no column '{column}'", f"one of {known}", did_you_mean(column, head)))
            return out
        return once(out, (row[head.index(column)] for _, row in body if len(row) > head.index(column)), column)
    if "name" not in meant:
        found = f"no column of {', '.join(head)[:120]} looks like the node's name"
        out.faults.append(Fault("line 1", found, f"one of {' '.join(ALIASES['name'][:6])}", "name it: --column NAME"))
        return out
    out.notes += _said(head, meant)
    for line, row in body:
        _take(out, line, head, meant, row)
    return out


def once(out: NodeList, names: Iterable[Any], column: str) -> NodeList:
    """Put each distinct name of a column into the list, in order of appearance."""
    each = dict.fromkeys(str(name).strip() for name in names if name is not None and str(name).strip())
    out.nodes += [NodeFound(name) for name in each]
    out.notes.append(Note("node", f"column '{column}'", f"{len(each)} different names"))
    return out


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every row that holds something; a leading # makes a comment."""
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    counts = {mark: first.count(mark) for mark in (",", ";", "\t", "|")}
    if not any(counts.values()) and len(first.split()) > 1:
        return _aligned(text)
    mark = max(counts, key=lambda each: counts[each]) if any(counts.values()) else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    rows = []
    for row in reader:
        if any(cell.strip() for cell in row) and not row[0].startswith("#"):
            rows.append((reader.line_num, row))
    return rows


def _aligned(text: str) -> list[tuple[int, list[str]]]:
    """Rows of a table with spaces between its columns, as `sinfo -N` prints: a node comes once for each partition."""
    seen: dict[tuple[str, ...], int] = {}
    for line, row in enumerate(text.splitlines(), 1):
        if row.strip() and not row.startswith("#"):
            seen.setdefault(tuple(row.split()), line)
    return [(line, list(row)) for row, line in seen.items()]


def meaning_of(head: Sequence[str]) -> dict[str, int]:
    """Meaning -> index of the column that carries it: the one called by the earliest of its ALIASES."""
    bare = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in head]
    named = {what: [bare.index(alias) for alias in known if alias in bare] for what, known in ALIASES.items()}
    return {what: places[0] for what, places in named.items() if places}


def _said(head: Sequence[str], meant: dict[str, int]) -> list[Note]:
    notes = [
        Note(what.removesuffix("_kw"), f"column '{head[at]}'", "read as W" if _is_watts(what, head[at]) else "")
        for what, at in meant.items()
    ]
    rest = [name for i, name in enumerate(head) if i not in meant.values() and name]
    return notes + ([Note("left out", ", ".join(rest)[:200], "columns that say nothing of a site")] if rest else [])


def _is_watts(what: str, name: str) -> bool:
    return what.endswith("_kw") and re.sub(r"[^a-z0-9]", "", name.lower()) not in _IN_KW


def _take(out: NodeList, line: int, head: Sequence[str], meant: dict[str, int], row: Sequence[str]) -> None:
    """One row of the table; a name may be a range and stands for all of its nodes."""
    where = f"line {line}"
    if len(row) > len(head):
        cure = "put values that hold a comma in quotes"
        out.faults.append(Fault(where, f"{len(row)} values for {len(head)} columns", f"{len(head)} values", cure))
        return
    told = {what: row[at].strip() for what, at in meant.items() if at < len(row) and row[at].strip()}
    if "name" not in told:
        out.faults.append(Fault(where, f"no node in column '{head[meant['name']]}'", "a name", "fill it in"))
        return
    numbers = {key: _number(out, where, head[meant[key]], key, told[key]) for key in _NUMBERS if key in told}
    gpus, gpu = _gpus(out, where, head, meant, told)
    cores = numbers.get("cores") or numbers.get("threads")
    node = NodeFound(
        told["name"],
        where,
        int(cores) if cores else None,
        gpus,
        told.get("gpu", gpu),
        kind=told.get("kind", ""),
        rack=told.get("rack", ""),
        hall=told.get("hall", ""),
        region=told.get("region", ""),
        idle_kw=numbers.get("idle_kw"),
        peak_kw=numbers.get("peak_kw"),
        features=tuple(word.strip() for word in told.get("features", "").split(",") if word.strip()),
        state=states(told.get("state", "")),
    )
    try:
        out.nodes += [replace(node, name=name) for name in hosts(node.name)]
    except ValueError:
        out.nodes.append(node)  # the check of names says what is wrong with it


_NUMBERS = ("peak_kw", "idle_kw", "cores", "threads")
_LIMITS = {"peak_kw": (0.05, 200.0), "idle_kw": (0.01, 100.0), "cores": (1.0, 2048.0), "threads": (1.0, 4096.0)}


def _number(out: NodeList, where: str, name: str, what: str, text: str) -> float | None:
    """A number in the file's unit, powers in kW; a fault where it is none or impossible."""
    try:
        value = float(text) / (1000.0 if _is_watts(what, name) else 1.0)
    except ValueError:
        out.faults.append(Fault(where, f"{name} is '{text[:40]}'", "a number", "correct it or leave it empty"))
        return None
    low, high = _LIMITS[what]
    if not low <= value <= high:
        unit = " kW" if what.endswith("_kw") else ""
        cure = "is the column in W? then let its name end in _w" if what.endswith("_kw") and value > high else ""
        out.faults.append(Fault(where, f"{name} is {text[:40]}", f"{low:g}..{high:g}{unit}", cure))
        return None
    return value


def _gpus(
    out: NodeList, where: str, head: Sequence[str], meant: dict[str, int], told: dict[str, str]
) -> tuple[int | None, str]:
    """Accelerators as a number, or as a Gres text such as gpu:a100:4."""
    text = told.get("gpus", "")
    if text.lower() in ("", "(null)", "n/a", "-", "none"):
        return (0 if text else None), ""
    if ":" in text or text.lower().startswith("gpu"):
        return accelerators(text)
    if re.fullmatch(r"\d+(\.0*)?", text):
        return int(float(text)), ""
    found = f"{head[meant['gpus']]} is '{text[:40]}'"
    out.faults.append(Fault(where, found, "a whole number, or a text such as gpu:a100:4", "correct it"))
    return None, ""
