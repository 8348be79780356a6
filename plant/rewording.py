"""Turns pydantic's findings into our words: path, value with unit, bounds, and what was probably meant."""

from __future__ import annotations

import datetime
import difflib
import math
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from plant.errors import Fault
from plant.units import key_stem, probable_slip, shown

Loc = tuple[int | str, ...]
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a table"}


class Key(NamedTuple):
    """What the models know about one path: the field, if there is one, and the model it stands in."""

    field: FieldInfo | None
    model: type[BaseModel] | None

    @property
    def extra(self) -> Mapping[str, Any]:
        """Unit and bounds of the field."""
        extra = self.field.json_schema_extra if self.field is not None else None
        return extra if isinstance(extra, dict) else {}

    @property
    def unit(self) -> str:
        """Unit to print behind a number, with a space, or nothing."""
        unit = str(self.extra.get("unit", ""))
        return f" {unit}" if unit not in ("", "text", "count", "fraction", "ratio") else ""


def dotted(loc: Loc) -> str:
    """A path as a person writes it.

    >>> dotted(("rack", 2, "hall"))
    'rack[2].hall'
    """
    out = ""
    for step in loc:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else str(step)
    return out


def reword(error: ValidationError, model: type[BaseModel], raw: Mapping[str, Any]) -> list[Fault]:
    """One fault for each finding; a missing key that was written under another name comes once."""
    findings = real_findings(error)
    meant = {
        (*each["loc"][:-1], near)
        for each in findings
        if each["type"] == "extra_forbidden" and (near := _nearest(each["loc"], model))
    }
    return [_fault(each, model) for each in findings if not (each["type"] == "missing" and each["loc"] in meant)]


def real_findings(error: ValidationError) -> list[Any]:
    """Pydantic's findings without the lists that are called too short only because an entry of theirs is faulty."""
    return [
        each
        for each in error.errors(include_url=False)
        if not (each["type"] == "too_short" and len(each["input"]) >= each.get("ctx", {}).get("min_length", 1))
    ]


def _fault(each: Any, model: type[BaseModel]) -> Fault:
    """One finding in our words."""
    kind, loc, value, context = each["type"], each["loc"], each.get("input"), each.get("ctx", {})
    key, where = key_at(model, loc), dotted(loc)
    if kind == "extra_forbidden":
        return _unknown_key(where, loc, model)
    if kind == "missing" and isinstance(loc[-1], int):
        return Fault(dotted(loc[:-1]), f"has {loc[-1]} entries", allowed(key), f"write {meaning_of(key)}")
    if kind == "missing":
        return Fault(where, "missing", allowed(key), f"add {loc[-1]}: {meaning_of(key)}".removesuffix(": "))
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        return _out_of_bounds(where, value, key)
    if kind == "finite_number" or (isinstance(value, float) and not math.isfinite(value)):
        return Fault(where, f"is {value}", allowed(key), "write a finite number")
    if kind == "literal_error":
        choices = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        near = difflib.get_close_matches(str(value), choices, n=1)
        return Fault(where, f"is {_said(value)}", f"one of {' '.join(choices)}", _did_you_mean(near))
    if kind == "value_error":
        return Fault(where, str(context.get("error", each["msg"])))
    if kind in ("too_short", "too_long", "string_too_short"):
        return Fault(where, "is empty" if not value else f"has {len(value)} entries", _length(kind, context))
    if kind == "string_pattern_mismatch":
        return Fault(where, f"is {_said(value)}", f"text like {_example(str(context.get('pattern', '')))}")
    if kind in ("timezone_aware", "timezone_naive"):
        return Fault(where, f"{value} has no time zone", "an instant with offset", f"write {value}+00:00 if it is UTC")
    return _wrong_type(where, value, key, kind)


def _unknown_key(where: str, loc: Loc, model: type[BaseModel]) -> Fault:
    """An unknown key; one that differs only by its unit ending is told which unit is wanted."""
    near = _nearest(loc, model)
    known = _known_keys(loc, model)
    if near is None:
        return Fault(where, "unknown key", f"allowed are {' '.join(known)}" if known else "", "remove it")
    unit = key_at(model, (*loc[:-1], near)).unit.strip()
    other_unit = key_stem(near) == key_stem(str(loc[-1])) and unit
    return Fault(where, "unknown key", cure=f"did you mean '{near}'?{f' values are {unit}' if other_unit else ''}")


def _nearest(loc: Loc, model: type[BaseModel]) -> str | None:
    """The known key that an unknown one probably stands for: same name under another unit first, then the nearest."""
    word, known = str(loc[-1]), _known_keys(loc, model)
    stem = key_stem(word)
    same = [key for key in known if key_stem(key) == stem] or [key for key in known if key_stem(key) == stem.lower()]
    near = same or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return near[0] if near else None


def _known_keys(loc: Loc, model: type[BaseModel]) -> list[str]:
    parent = model_at(model, loc[:-1])
    return list(parent.model_fields) if parent is not None else []


def _out_of_bounds(where: str, value: Any, key: Key) -> Fault:
    """A number beyond its bounds, with the slip of unit that would explain it."""
    low, high = float(key.extra.get("low", -math.inf)), float(key.extra.get("high", math.inf))
    found = f"is {shown(value)}{key.unit}" if math.isfinite(value) else f"is {value}"
    slip = probable_slip(float(value), str(key.extra.get("unit", "")), low, high) if math.isfinite(value) else None
    cure = f"looks like {slip[0]}: write {shown(slip[1])}" if slip else ""
    return Fault(where, found, allowed(key), cure)


def _wrong_type(where: str, value: Any, key: Key, kind: str) -> Fault:
    """A value of the wrong type; a number in quotes is told to lose them."""
    cure = ""
    if isinstance(value, str) and key.extra.get("low") is not None:
        try:
            float(value)
            cure = f"write {value} without quotes"
        except ValueError:
            cure = "write a number without unit"
    elif isinstance(value, dict) and (kind.startswith("tuple") or "list" in kind):
        cure = f"write [[{where}]] instead of [{where}]"
    elif kind == "int_type" and isinstance(value, float):
        cure = f"write {value:.0f}" if value == int(value) else "write a whole number"
    kind_of = _NAMES.get(type(value), type(value).__name__)
    return Fault(
        where, f"is {kind_of}{f' {_said(value)}' if isinstance(value, (str, int, float)) else ''}", allowed(key), cure
    )


def _said(value: Any) -> str:
    """A value as written in the file, shortened."""
    if isinstance(value, (bool, float, int)):
        return shown(value)
    text = " ".join(str(value).split())
    return f"'{text[:57]}...'" if len(text) > 60 else f"'{text}'"


def meaning_of(key: Key) -> str:
    """What a field means, from its metadata, or nothing."""
    return (key.field.description or "") if key.field is not None else ""


def allowed(key: Key) -> str:
    """What a field takes, in words, from its metadata."""
    if key.field is None:
        return ""
    if key.extra.get("low") is not None:
        kind = "a whole number" if key.extra.get("unit") == "count" else "a number"
        return f"{kind}, {shown(key.extra['low'])}..{shown(key.extra['high'])}{key.unit}"
    bare = _bare(key.field.annotation)
    if typing.get_origin(bare) is tuple:
        return _list(typing.get_args(bare))
    if bare in (datetime.datetime, AwareDatetime):
        return "an instant such as 2022-12-18T08:56:00+08:00"
    return "text" if bare is str else "a table"


def _list(entries: tuple[Any, ...]) -> str:
    """A list in words: how many of what, where the model says so."""
    if not entries or entries[-1] is Ellipsis:
        return "a list"
    return f"a list of {len(entries)} {'numbers' if entries[0] is float else 'texts'}"


def key_at(model: type[BaseModel], loc: Loc) -> Key:
    """Field and model at a path; both None where the path leads out of the models."""
    parent = model_at(model, loc[:-1])
    while loc and isinstance(loc[-1], int):  # an entry of a list carries the metadata of the list
        loc, parent = loc[:-1], model_at(model, loc[:-2])
    if parent is None or not loc:
        return Key(None, parent)
    return Key(parent.model_fields.get(str(loc[-1])), parent)


def model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """The model that a path leads to, or None."""
    now: Any = model
    for step in loc:
        if isinstance(step, str) and isinstance(now, type) and issubclass(now, BaseModel) and step in now.model_fields:
            now = _bare(now.model_fields[step].annotation)
        elif isinstance(step, int) and typing.get_origin(now) is tuple:
            now = _bare(typing.get_args(now)[0])
        else:
            return None
    return now if isinstance(now, type) and issubclass(now, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """An annotation without Annotated and without None."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        rest = [each for each in typing.get_args(annotation) if each is not type(None)]
        return _bare(rest[0])
    return annotation


def _did_you_mean(near: list[str]) -> str:
    return f"did you mean '{near[0]}'?" if near else ""


def _length(kind: str, context: Mapping[str, Any]) -> str:
    return f"at most {context['max_length']}" if kind == "too_long" else f"at least {context.get('min_length', 1)}"


def _example(pattern: str) -> str:
    """An example for each pattern in use; the pattern itself where there is none."""
    examples = {
        r"^[A-Za-z0-9._-]+$": "zone-c (letters, digits, . _ -)",
        r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+$": "region/name or region/hall/name",
        r"^\d{1,2}\+\d{1,2}$": "'1+1' or '4+2' (needed + spare)",
    }
    return examples.get(pattern, pattern)
