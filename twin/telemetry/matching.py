"""Which rule takes a series, and what it makes of it: patterns, tags and templates. Looked up once for each series."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import translate

from twin.telemetry.hosts import Hosts, bare
from twin.telemetry.mappingfile import SLOT, UNITS, Rule, line_of, our_channel
from twin.telemetry.samples import Series

Words = dict[str, str]
METRIC_FIELDS = frozenset({"gauge", "counter", "untyped"})
LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})


@dataclass(frozen=True)
class Meaning:
    """Where readings of one series go: ours = theirs * scale + offset, values of `drop` left out."""

    component: str
    channel: str
    scale: float = 1.0
    offset: float = 0.0
    drop: tuple[float, ...] = ()
    drop_all: bool = False
    words: Mapping[str, float] | None = None
    numbers: Mapping[float, float] | None = None
    counter: bool = False
    combine: str | None = None
    rule: str = ""
    unit: str = ""
    also: str | None = None


@dataclass(frozen=True)
class Happening:
    """What makes events of one series; `code`, `text` and `key` are filled but for {value}."""

    component: str
    rule: Rule
    code: str
    text: str
    key: str


class Matcher:
    """One rule with its patterns prepared; `name` is how people are told of it."""

    def __init__(self, rule: Rule, name: str, site: str, hosts: Hosts) -> None:
        self.rule, self.name, self._site, self._hosts = rule, name, site, hosts
        self._match = _pattern(rule.match)
        self._when = {tag: _pattern(pattern) for tag, pattern in rule.when.items() if pattern}
        self._absent = [tag for tag, pattern in rule.when.items() if not pattern]
        numbers = {float(word): value for word, value in rule.enum.items() if _is_number(word)}
        self._words, self._numbers = rule.enum or None, numbers or None

    def fits(self, name: str) -> bool:
        """Whether the name alone fits; tags are asked in `words`."""
        return self._match(name) is not None

    def words(self, series: Series, name: str) -> Words | None:
        """Groups caught by the patterns, or None where a tag does not fit."""
        tags = dict(series.tags)
        found = _groups("match", self._match(name))
        for tag, pattern in self._when.items():
            match = pattern(tags[tag]) if tag in tags else None
            if match is None:
                return None
            found |= _groups(tag, match)
        return None if any(tags.get(tag) for tag in self._absent) else found

    def meaning(self, series: Series, name: str) -> Meaning | None:
        """What the series reads, or None where the rule does not take it."""
        caught = self.words(series, name)
        if caught is None:
            return None
        rule = self.rule
        if rule.drop is True:
            return Meaning("", "", drop_all=True, rule=self.name)
        component, channel = (self.filled(text, series, caught) for text in (rule.component, our_channel(rule)))
        if component is None or channel is None:
            return None
        scale, offset = line_of(rule, UNITS.get(channel, ""))
        values = () if isinstance(rule.drop, bool) else rule.drop
        return Meaning(
            component, channel, scale, offset, values, False, self._words, self._numbers, rule.counter, rule.combine,
            self.name, rule.unit or "", rule.also,
        )  # fmt: skip

    def happening(self, series: Series, name: str) -> Happening | None:
        """What the series tells of events, or None where the rule does not take it."""
        caught = self.words(series, name)
        event = self.rule.event
        if caught is None or event is None:
            return None
        component = self.filled(self.rule.component, series, caught)
        parts = [self.filled(text or "", series, caught) for text in (event.code, event.text or "{field}", event.key)]
        if component is None or None in parts:
            return None
        return Happening(component, self.rule, parts[0] or "", parts[1] or "", parts[2] or "")

    def filled(self, template: str, series: Series, caught: Words) -> str | None:
        """A template with its slots filled, {value} kept; None where a tag without a default is absent."""
        if "{" not in template:
            return template
        tags = dict(series.tags)
        parts = SLOT.split(template)
        for n in range(1, len(parts), 2):
            said = self._slot(parts[n], series, tags, caught)
            if said is None:
                return None
            parts[n] = said
        return "".join(parts)

    def _slot(self, slot: str, series: Series, tags: Mapping[str, str], caught: Words) -> str | None:
        if slot == "value":
            return "{value}"
        if slot == "site":
            return self._site or None
        plain = {"component": tags.get("component"), "channel": series.field, "field": series.field}
        if slot in plain:
            return plain[slot]
        if slot == "measurement":
            return series.measurement
        if slot in caught:
            return caught[slot]
        form, _, rest = slot.partition(":")
        return self._of_tag(form, rest, tags)

    def _of_tag(self, form: str, rest: str, tags: Mapping[str, str]) -> str | None:
        """`tag:NAME+1|DEFAULT`, or `KIND:TAG,TAG` joined to a component of the kind by the first tag present."""
        names, has_default, default = rest.partition("|")
        names, _, plus = names.partition("+")
        present = [tags[name] for name in names.split(",") if tags.get(name)]
        # a loop-back address names nobody where another tag does
        said = next((one for one in present if bare(one) not in LOCAL), present[0] if present else None)
        if said is None:
            return default if has_default else None
        if plus:
            return str(int(said) + int(plus)) if said.isdigit() else None
        return said if form == "tag" else self._hosts.join(form, said)


def name_of(series: Series) -> str:
    """What rules match: <measurement>.<field>, or <component>/<channel> for a row of a long table.

    A metric of Prometheus is always prometheus.<metric>, also where it is the measurement and its kind the field.
    """
    if series.measurement:
        plain = series.field in METRIC_FIELDS
        return f"prometheus.{series.measurement}" if plain else f"{series.measurement}.{series.field}"
    return f"{dict(series.tags).get('component', '')}/{series.field}"


def _pattern(text: str) -> Callable[[str], re.Match[str] | None]:
    """A shell pattern over the whole name, or ~regular expression found anywhere in it."""
    if text.startswith("~"):
        return re.compile(text[1:]).search
    return re.compile(translate(text)).match


def _groups(name: str, match: re.Match[str] | None) -> Words:
    if match is None:
        return {}
    return {f"{name}.{n}": word or "" for n, word in enumerate(match.groups(), 1)}


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
