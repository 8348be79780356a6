"""The models of a mapping file: what a person writes in TOML to say what the names of a source mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from plant.channels import CHANNELS
from plant.errors import Fault
from plant.keys import Part
from plant.keys import text as words
from plant.references import did_you_mean
from plant.site import KINDS
from twin.telemetry.conversions import canonical, conversion, known_units, per_second

UNITS = {channel.name: channel.unit for channel in CHANNELS}
SLOT = re.compile(r"\{([^{}]*)\}")
WORDS = ("site", "component", "channel", "measurement", "field")
FORMS = "{tag:NAME} {tag:NAME|DEFAULT} {tag:NAME+1} {KIND:TAG} {TAG.1} {match.1} " + " ".join(f"{{{w}}}" for w in WORDS)
_FORM = re.compile(r"(tag|\w+):([\w.,-]+)(\+\d+)?(\|.*)?|[\w-]+\.\d+")


class Source(Part):
    """Columns of a table and the clock of its times."""

    time: str = words("column with the time", "time")
    component: str = words("column with the component", "component")
    channel: str = words("column with the channel", "channel")
    value: str = words("column with the value", "value")
    tags: tuple[str, ...] = Field((), description="further columns that rules may ask for in `when`")
    time_unit: Literal["iso", "s", "ms", "us", "ns"] | None = Field(
        None, description="iso, or the unit of a Unix time; absent: iso for text and instants, ms for numbers"
    )


class EventRule(Part):
    """What makes an event of a series: a change of its code, where the code is the value unless a template says so."""

    type: str = words("type of the event, for example xid or alarm")
    code: str = words("template of the code; {value} is the number or word that stood there", "{value}")
    text: str | None = words("template of what is said with it", None)
    key: str | None = words("template of the thing the last code is kept for; it is told behind the code", None)
    on: Literal["change", "rise", "every"] = Field(
        "change", description="change: when the code differs from the last; rise: when a count grew; every: each sample"
    )
    quiet: tuple[str, ...] = Field((), description="codes that mean nothing is wrong: remembered, never said")
    clear: str | None = words("code said once when a quiet code follows another", None)
    names: dict[str, str] = Field(default_factory=dict, description="our word for a code")
    bits: dict[str, str] = Field(default_factory=dict, description="value is a set of flags: bit number, word for it")


class Rule(Part):
    """What one source name means."""

    id: str | None = words("name of the rule, for `map explain`", None)
    match: str = words("pattern, or ~regular expression, over <component>/<channel> or <measurement>.<field>")
    when: dict[str, str] = Field(
        default_factory=dict, description='pattern or ~regular expression a tag must fit; "" where it must be absent'
    )
    component: str = words(
        "component id; {component}, {tag:NAME}, {node:TAG} stand for the source's words", "{component}"
    )
    channel: str | None = words("channel of our table; the same words may stand in it; absent with `event`", None)
    unit: str | None = words("unit in the source; absent: the channel's own", None)
    scale: float | None = Field(None, description="factor from the source's number to the channel's unit")
    offset: float | None = Field(None, description="added after the factor, in the channel's unit")
    drop: bool | tuple[float, ...] = Field(False, description="true: leave these out; numbers: leave out these values")
    enum: dict[str, float] = Field(default_factory=dict, description="number of each word (or number) of the source")
    counter: bool = Field(False, description="a count that only grows: its rate each second is the reading")
    combine: Literal["max", "min", "sum", "mean"] | None = Field(
        None, description="several series of one instant are one reading: hottest, sum of phases"
    )
    also: str | None = words("kind of the whole whose reading is the mean over such parts, for example rack", None)
    event: EventRule | None = Field(None, description="an event instead of, or beside, a reading")
    why: str | None = words("what the rule is about, where it is no matter of course", None)


class MappingFile(Part):
    """A whole mapping file."""

    site: str | None = words("what {site} stands for", None)
    include: tuple[str, ...] = Field((), description="shipped rules that follow these, as builtin:NAME")
    hosts: dict[str, str] = Field(
        default_factory=dict, description="name or regular expression of a host -> component id; {1} its first group"
    )
    source: dict[str, Source] = Field(default_factory=dict, description="tables by name")
    rule: tuple[Rule, ...] = Field((), description="in order; the first match wins")


def faults_of(read: MappingFile) -> list[Fault]:
    """What pydantic cannot know: channels nobody knows, units that do not lead to them, patterns that are none."""
    found = [fault for n, rule in enumerate(read.rule) for fault in _rule_faults(rule, f"rule[{n}]")]
    for name, component in read.hosts.items():
        found += _pattern_faults(f"hosts.{name}", "~" + name)
        found += [] if component.strip() else [Fault(f"hosts.{name}", "is empty", "a component id")]
    return found


def our_channel(rule: Rule) -> str:
    """The channel a rule names; without one the source's own word is ours."""
    return rule.channel or "{channel}"


def line_of(rule: Rule, ours: str) -> tuple[float, float]:
    """Scale and offset of a rule to the unit `ours`; what the file says goes before what its unit means."""
    usual = conversion(their_unit(rule, ours), ours) or (1.0, 0.0)
    scale = usual[0] if rule.scale is None else rule.scale
    return scale, usual[1] if rule.offset is None else rule.offset


def their_unit(rule: Rule, ours: str) -> str:
    """Unit of what is scaled: for a counter that of its rate, without one ours."""
    if rule.unit is None:
        return ours
    return per_second(rule.unit) if rule.counter else canonical(rule.unit)


def _rule_faults(rule: Rule, where: str) -> list[Fault]:
    found = _pattern_faults(f"{where}.match", rule.match)
    for tag, pattern in rule.when.items():
        found += _pattern_faults(f"{where}.when.{tag}", pattern)
    for key, template in _templates(rule):
        found += _template_faults(f"{where}.{key}", template, "value" if key.startswith("event") else "")
    bits = rule.event.bits if rule.event is not None else {}
    for bit in bits:
        if not (bit.isdigit() and int(bit) < 64):
            found.append(Fault(f"{where}.event.bits.{bit}", f"'{bit}' is no bit", "0 to 63", "count bits from 0"))
    if rule.event is not None and rule.event.on == "rise" and bits:
        found.append(Fault(f"{where}.event", "rise with bits", "one of them", "flags have no order: use on = 'change'"))
    if rule.also is not None and rule.also not in KINDS:
        found.append(Fault(f"{where}.also", f"'{rule.also}'", f"one of {' '.join(KINDS)}", "name a kind of component"))
    return found + (_unit_faults(rule, where) if rule.drop is not True else [])


def _templates(rule: Rule) -> Iterator[tuple[str, str]]:
    yield "component", rule.component
    yield "channel", our_channel(rule)
    if rule.event is not None:
        for key in ("code", "text", "key"):
            yield f"event.{key}", getattr(rule.event, key) or ""


def _pattern_faults(where: str, pattern: str) -> list[Fault]:
    if not pattern.startswith("~"):
        return []
    try:
        re.compile(pattern[1:])
    except re.error as error:
        return [Fault(where, f"'{pattern}' is no regular expression: {error}", "Python's", "correct the pattern")]
    return []


def _template_faults(where: str, template: str, also: str) -> list[Fault]:
    bad = [slot for slot in SLOT.findall(template) if not _slot_ok(slot, also)]
    rest = SLOT.sub("", template)
    if "{" in rest or "}" in rest:
        bad.append(template)
    return [Fault(where, f"'{{{one}}}'", FORMS, "correct the template") for one in bad]


def _slot_ok(slot: str, also: str) -> bool:
    match = _FORM.fullmatch(slot)
    if match is None:
        return slot in WORDS or slot == also != ""
    return match.group(1) is None or match.group(1) in ("tag", *KINDS)


def _unit_faults(rule: Rule, where: str) -> list[Fault]:
    """A channel nobody knows, a unit that does not lead to it, a factor that contradicts the unit."""
    if rule.channel is None or "{" in rule.channel:
        return []
    unit = UNITS.get(rule.channel)
    if unit is None:
        cure = did_you_mean(rule.channel, list(UNITS)) or "correct the name"
        return [Fault(f"{where}.channel", f"'{rule.channel}'", f"one of {_listed(UNITS)}", cure)]
    usual = conversion(their_unit(rule, unit), unit)
    if usual is None:
        return [_no_way(rule, unit, where)]
    if rule.unit is None or rule.scale is None or abs(rule.scale - usual[0]) <= 1e-9 * abs(usual[0]):
        return []
    allowed = f"{usual[0]:g}, the factor from {rule.unit} to {unit}"
    cure = f"correct the unit or the scale; other steps of a unit are written as unit = '10 {rule.unit}'"
    return [Fault(f"{where}.scale", f"{rule.scale:g} for unit {rule.unit}", allowed, cure)]


def _no_way(rule: Rule, unit: str, where: str) -> Fault:
    said = f"'{rule.unit}' for {rule.channel}" + (" as a counter" if rule.counter else "")
    return Fault(f"{where}.unit", said, f"one of {_listed(known_units(unit))}", "correct the unit")


def _listed(names: Iterable[str]) -> str:
    return " ".join(sorted(set(names)))
