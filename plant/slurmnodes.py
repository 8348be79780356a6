"""Node lists of Slurm: `scontrol show node` (either layout), the NodeName lines of slurm.conf, and node JSON.

What a scheduler knows of a node goes into `NodeFound`; nodes in state FUTURE do not exist yet and are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from plant.errors import Fault
from plant.nodelist import NodeFound, NodeList, Note, shortened
from plant.slurmtext import accelerators, hosts, states, unknown_states, whole

_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z][A-Za-z0-9_]*)=")
_LAST = "reason"  # a free text: whatever looks like a key behind it is part of it
CONTROL_KEYS = ("cputot", "cpualloc", "nodehostname")

Told = Mapping[str, str]


def is_slurm_text(text: str) -> bool:
    """Tell whether a text holds node records of Slurm."""
    return re.search(r"^\s*NodeName\s*=", text, re.MULTILINE | re.IGNORECASE) is not None


def read_text(text: str) -> NodeList:
    """The nodes of `scontrol show node` or of a slurm.conf."""
    control = any(f"{key}=" in text.lower() for key in CONTROL_KEYS)
    out = NodeList()
    defaults: dict[str, str] = {}
    for line, record in _records(text, control):
        told = _pairs(record)
        if control:
            out.notes += _include(record, line)
        if told.get("nodename", "").upper() == "DEFAULT":
            defaults |= {key: value for key, value in told.items() if key != "nodename"}
        elif "nodename" in told:
            _take(out, f"line {line}", {**defaults, **told})
        else:
            out.notes += _include(record, line)
    return _without_future(out)


def _include(record: str, line: int) -> list[Note]:
    words = record.split()
    if words and words[0].lower() == "include":
        return [Note("included file", " ".join(words[1:]), f"line {line}: not followed; join the files first")]
    return []


def _records(text: str, control: bool) -> Iterator[tuple[int, str]]:
    """(line number, record): a record of scontrol goes on in indented lines, one of slurm.conf behind a backslash."""
    start, held = 0, ""
    for n, raw in enumerate(text.splitlines(), 1):
        line = raw.rstrip() if control else re.sub(r"(?<!\\)#.*", "", raw).rstrip()
        goes_on = held.endswith("\\") if not control else bool(held) and raw[:1] in " \t" and line.strip()
        if goes_on:
            held = f"{held.rstrip(chr(92))} {line.strip()}"
            continue
        if held.strip():
            yield start, held.strip()
        start, held = n, line
    if held.strip():
        yield start, held.strip().rstrip("\\")


def _pairs(record: str) -> dict[str, str]:
    """Key (lower case) -> value of one record; a value may hold spaces, the first of equal keys counts."""
    found = list(_KEY.finditer(record))
    pairs: dict[str, str] = {}
    for key, following in zip(found, [*found[1:], None], strict=True):
        name = key.group(1).lower()
        end = len(record) if following is None or name == _LAST else following.start()
        pairs.setdefault(name, record[key.end() : end].strip().strip('"'))
        if name == _LAST:
            break
    return pairs


def _take(out: NodeList, where: str, told: Told) -> None:
    """One record: one node of scontrol, as many as its range names of slurm.conf."""
    try:
        names = hosts(told["nodename"])
    except ValueError as error:
        out.faults.append(Fault(where, str(error)))
        return
    state = states(told.get("state", ""))
    odd = unknown_states(state)
    if odd:
        cure = "a broken line, or a newer Slurm: correct the word or take State= away"
        out.faults.append(Fault(where, f"state '{odd[0]}' of {told['nodename']}", "a state that Slurm has", cure))
    numbers = {
        key: _count(out, where, told, key)
        for key in ("cpus", "cputot", "sockets", "socketsperboard", "boards", "corespersocket", "threadspercore")
    }
    gpus, gpu = accelerators(_plain(told.get("gres", "")))
    features = _plain(told.get("availablefeatures") or told.get("features") or told.get("feature") or "")
    out.nodes += [
        NodeFound(name, where, _cores(numbers), gpus, gpu, features=_words(features), state=state) for name in names
    ]


def _count(out: NodeList, where: str, told: Told, key: str) -> int | None:
    text = told.get(key)
    if text is None:
        return None
    if not text.isdigit():
        out.faults.append(Fault(where, f"{key} is '{text[:40]}'", "a whole number", "correct the line"))
        return None
    return int(text)


def _cores(told: Mapping[str, int | None]) -> int | None:
    """Physical cores: sockets times cores of each where both are known, else CPUs over threads."""
    sockets = told["sockets"] or (told["socketsperboard"] or 0) * (told["boards"] or 1)
    each, cpus = told["corespersocket"], told["cputot"] or told["cpus"]
    if sockets and each:
        return sockets * each
    return max(cpus // max(told["threadspercore"] or 1, 1), 1) if cpus else None


def _plain(text: str) -> str:
    return "" if text in ("(null)", "N/A", "none") else text


def _words(features: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in features.split(",")) if word)


def read_json(text: str) -> NodeList:
    """The nodes of `sinfo --json` or `scontrol show nodes --json`, whichever version wrote it."""
    out = NodeList()
    try:
        told = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        out.faults.append(Fault(f"line {line}", "is no JSON", "", "was the file cut off? write it again"))
        return out
    rows = told.get("nodes") if isinstance(told, dict) else None
    groups = told.get("sinfo") if isinstance(told, dict) else None
    if isinstance(rows, list):
        for i, row in enumerate(rows):
            _take_json(out, f"nodes[{i}]", row)
    elif isinstance(groups, list):
        for i, row in enumerate(groups):
            _take_group(out, f"sinfo[{i}]", row)
    else:
        found = f"JSON with {' '.join(sorted(told)[:8]) if isinstance(told, dict) else type(told).__name__}"
        out.faults.append(Fault("", found, "a list `nodes` or `sinfo`", "write it with scontrol show nodes --json"))
    return _without_future(out)


def _take_json(out: NodeList, where: str, row: Any) -> None:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        out.faults.append(Fault(where, "has no name", "a node with its name"))
        return
    state = states(row.get("state")) + states(row.get("state_flags"))
    odd = unknown_states(state)
    if odd:
        out.faults.append(Fault(where, f"state '{odd[0]}' of {row['name']}", "a state that Slurm has"))
    sockets, each, cpus = (whole(row.get(key)) for key in ("sockets", "cores", "cpus"))
    cores = sockets * each if sockets and each else (cpus or 0) // max(whole(row.get("threads")) or 1, 1)
    gpus, gpu = accelerators(str(row.get("gres") or ""))
    features = row.get("features") or ""
    words = _words(features) if isinstance(features, str) else tuple(str(word) for word in features)
    out.nodes.append(NodeFound(row["name"], where, cores or None, gpus, gpu, features=words, state=state))


def _take_group(out: NodeList, where: str, row: Any) -> None:
    """A row of `sinfo --json` since 23.02: nodes of one partition that are alike; other partitions name them again."""
    told = row if isinstance(row, dict) else {}
    names = (told.get("nodes") or {}).get("nodes")
    if not isinstance(names, list):
        out.faults.append(Fault(where, "names no nodes", "nodes.nodes, a list of names"))
        return
    known = {node.name for node in out.nodes}
    state = states((told.get("node") or {}).get("state"))
    gpus, gpu = accelerators(str((told.get("gres") or {}).get("total") or ""))
    most = {key: whole((told.get(key) or {}).get("maximum")) for key in ("sockets", "cores", "cpus", "threads")}
    cores = (most["sockets"] or 0) * (most["cores"] or 0) or (most["cpus"] or 0) // max(most["threads"] or 1, 1)
    words = _words(str((told.get("features") or {}).get("total") or ""))
    try:
        each = [name for text in names for name in hosts(str(text)) if name not in known]
    except ValueError as error:
        out.faults.append(Fault(where, str(error)))
        return
    out.nodes += [NodeFound(name, where, cores or None, gpus, gpu, features=words, state=state) for name in each]


def _without_future(out: NodeList) -> NodeList:
    """The list without nodes that somebody only means to buy."""
    future = [node.name for node in out.nodes if "FUTURE" in node.state]
    if future:
        out.notes.append(Note("left out", shortened(future), "state FUTURE: they do not exist yet"))
        out.nodes = [node for node in out.nodes if "FUTURE" not in node.state]
    return out
