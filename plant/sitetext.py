"""The text of a site file from its content: TOML, in the order a person reads, with what was assumed as comments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plant.nodelist import Note

TITLES = {
    "node_type": "Node types: power is [assumed] where the list gave none.",
    "cooling_unit": "Cooling [assumed]: sized to the design point, N + 1.",
    "loop": "Chilled water [assumed].",
    "ups": "Power supply [assumed].",
}


def site_text(raw: Mapping[str, Any], notes: Sequence[Note], head: str) -> str:
    """The file as text; `head` says where it came from. Keys stand in the order of `raw`."""
    lines = [f"# {head}", "#", "# Taken from the list or assumed; correct what you know better, then `site check`:"]
    lines += [
        f"# - {_one_line(f'{note.what}: {note.value}' + (f' ({note.why})' if note.why else ''))}" for note in notes
    ]
    lines += _pairs(raw)
    for name, parts in raw.items():
        if isinstance(parts, list):
            lines += ["", f"# {TITLES[name]}"] if name in TITLES else []
            for part in parts:
                lines += _table(name, part)
    return "\n".join(lines) + "\n"


def _table(name: str, part: Mapping[str, Any]) -> list[str]:
    lines = ["", f"[[{name}]]", *_pairs(part)]
    for key, value in part.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            for each in value:
                lines += _table(f"{name}.{key}", each)
        elif isinstance(value, Mapping) and key != "chillers":
            lines += ["", f"[{name}.{key}]", *_pairs(value)]
    return lines


def _pairs(part: Mapping[str, Any]) -> list[str]:
    """The plain keys of a table; chillers stand in one line."""
    lines = []
    for key, value in part.items():
        if key == "chillers":
            inside = ", ".join(f"{k} = {_value(v)}" for k, v in value.items())
            lines.append(f"{key} = {{ {inside} }}")
        elif not isinstance(value, Mapping) and not (
            isinstance(value, list) and value and isinstance(value[0], Mapping)
        ):
            lines.append(f"{key} = {_value(value)}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{_escaped(value)}"'
    return repr(value)


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in '"\\' else c if c.isprintable() else f"\\u{min(ord(c), 0xFFFF):04x}" for c in text)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:240]
