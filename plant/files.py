"""Reads a TOML file into a frozen pydantic model and says everything that is wrong with it at once, in our words.

Each fault is one line: file and path of the key, what was found with its unit, what is allowed, what to do.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from plant.errors import Fault, ForetwinError
from plant.rewording import Loc, dotted, real_findings, reword

M = TypeVar("M", bound=BaseModel)
Check = Callable[[Any], list[Fault]]
DATA = Path(__file__).resolve().parent.parent / "data"

# What a faulty value is replaced by so that the checks between parts can still run on the rest of the file.
_STAND_INS: tuple[Any, ...] = (1, 1.0, "salvaged", "salvaged/salvaged", "1+1", ("salvaged/a", "salvaged/b"))
BOM = b"\xef\xbb\xbf"
"""What editors of Windows put before a text in UTF-8; TOML has no room for it."""
BUILTIN = "builtin:"
"""Said before the name of a shipped file in other files; allowed wherever one is named."""
_NAMING = {"id", "ids", "nodes", "name"}


def shipped(folder: str, name: str | Path) -> Path:
    """Path of a file given as a path or as the bare name of one shipped in `data/<folder>`.

    >>> shipped("sites", "tiny").name
    'tiny.toml'
    """
    path = Path(str(name).removeprefix(BUILTIN))
    ours = DATA / folder / f"{path.name}.toml"
    return ours if path.suffix == "" and path.parent == Path() and not path.exists() and ours.is_file() else path


def load_toml(
    path: str | Path,
    model: type[M],
    error_class: type[ForetwinError],
    checks: Sequence[Check] = (),
    folder: str | None = None,
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> M:
    """Read, validate and cross-check a TOML file.

    `checks` take the model and return faults whose `where` is a path inside the file; they also run on what is left of
    a file with faults, so that all faults come at once. `folder` of `data/` holds shipped files of this kind.
    `prepare` may complete the raw content before it is validated, for example from other files.
    Raises `error_class` with every fault; `where` then names the file.
    """
    name = Path(path).name
    raw = read_toml(path, error_class, folder)
    raw = prepare(raw) if prepare is not None and raw else raw
    faults = [] if raw else [_empty(model)]
    found: M | None = None
    if raw:
        try:
            found = model.model_validate(raw)
        except ValidationError as error:
            faults = reword(error, model, raw)
            faults += _checks_on_the_rest(raw, error, model, checks)
    if found is not None:
        faults = [fault for check in checks for fault in check(found)]
        if not faults:
            return found
    raise error_class(faults=placed(faults, name))


def placed(faults: Sequence[Fault], file: str) -> list[Fault]:
    """The faults with the file's name in front of their path."""
    return [Fault(f"{file}: {f.where}" if f.where else file, f.found, f.allowed, f.cure) for f in faults]


def read_toml(path: str | Path, error_class: type[ForetwinError], folder: str | None) -> dict[str, Any]:
    """The raw content of a TOML file. Raises `error_class` that says why there is none."""
    file = Path(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise error_class(str(path), "no such file", cure=_siblings(file, folder)) from None
    except IsADirectoryError:
        raise error_class(str(path), "is a directory", "a TOML file", _siblings(file / "x", folder)) from None
    except OSError as problem:
        raise error_class(str(path), f"cannot be read: {problem.strerror or problem}", cure="check the path") from None
    try:
        return tomllib.loads(content.removeprefix(BOM).decode())
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        found = f"byte 0x{content[problem.start]:02x} is not UTF-8"
        raise error_class(f"{file.name} line {line}", found, "text in UTF-8", "save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        where, found = _syntax(file.name, str(problem), content)
        raise error_class(where, found, cure="correct the line; strings stand in quotes") from None


def _syntax(name: str, message: str, content: bytes) -> tuple[str, str]:
    """Place and text of a syntax error; the line is quoted so that it can be found."""
    match = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", message, re.DOTALL)
    if match is None:
        text = message.replace(" (at end of document)", "")
        return f"{name} line {content.count(bytes([10])) + 1}", f"syntax error at the end of the file: {text}"
    line = int(match.group(2))
    quoted = content.splitlines()[line - 1].decode().strip()[:60] if line <= len(content.splitlines()) else ""
    return f"{name} line {line}", f"syntax error at column {match.group(3)}: {match.group(1)} in `{quoted}`"


def _siblings(file: Path, folder: str | None) -> str:
    """What to do when the file is not there: TOML files next to it, else shipped ones."""
    here = (
        [] if file.parent == Path() or not file.parent.is_dir() else sorted(x.name for x in file.parent.glob("*.toml"))
    )
    if here:
        return f"there are {' '.join(here[:8])}"
    return (
        f"shipped are {' '.join(sorted(x.stem for x in (DATA / folder).glob('*.toml')))}"
        if folder
        else "check the path"
    )


def _empty(model: type[BaseModel]) -> Fault:
    """The one fault of a file without any key."""
    needed = [key for key, info in model.model_fields.items() if info.is_required()]
    return Fault(
        "",
        "is empty",
        f"at least {' '.join(needed)}" if needed else "one key at least",
        "start from a copy of a shipped file",
    )


def _checks_on_the_rest(
    raw: dict[str, Any], error: ValidationError, model: type[M], checks: Sequence[Check]
) -> list[Fault]:
    """Faults between parts of a file whose faulty values were replaced, without those that touch a replaced part."""
    locs = [each["loc"] for each in real_findings(error) if each["loc"]]
    if any(loc[-1] in _NAMING or len(loc) == 1 for loc in locs):
        return []  # without the names every reference would look wrong
    rest = _salvage(raw, error, model)
    if rest is None:
        return []
    touched = {dotted(_part(loc)) for loc in locs}
    faults = [fault for check in checks for fault in check(rest)]
    return [f for f in faults if not any(f.where.startswith(part) for part in touched) and "salvaged" not in str(f)]


def _part(loc: Loc) -> Loc:
    """The part of the file a path lies in: up to its last number."""
    last = max((i for i, step in enumerate(loc) if isinstance(step, int)), default=0)
    return loc[: last + 1]


def _salvage(raw: dict[str, Any], error: ValidationError, model: type[M]) -> M | None:
    """The model without unknown keys, faulty values replaced by whatever it takes; None if it takes none."""
    rest = copy.deepcopy(raw)
    for stand_in in (None, *_STAND_INS):
        for each in real_findings(error):
            if each["loc"]:
                _put(rest, each["loc"], stand_in)
        try:
            return model.model_validate(rest)
        except ValidationError as again:
            error = again
    return None


def _put(raw: Any, loc: Loc, value: Any) -> None:
    """Set one value by its path, or drop the key when the value is None; what cannot be reached is left."""
    last: Any = loc[-1]
    try:
        for step in loc[:-1]:
            raw = raw[step]
        if value is None:
            raw.pop(last)
        else:
            raw[last] = value
    except (AttributeError, KeyError, IndexError, TypeError):
        return
