"""Numbers, instants and components as people read them: percent, minutes, UTC with its zone. No drawing here."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

DAYS_FROM_S = 2 * 86_400
NONE = "–"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#|~$:!])")
_KINDS = {"ups": "UPS", "psu": "PSU", "cooling_unit": "cooling unit", "": "component"}


def known(value: object) -> bool:
    """True for a finite number; what the worker could not say comes as None."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def percent(frac: float | None) -> str:
    """A fraction as whole percent; the ends say that they are not certainty."""
    if not known(frac):
        return NONE
    if 0 < frac < 0.01:
        return "< 1 %"
    if 0.99 < frac < 1:
        return "> 99 %"
    return f"{100 * frac:.0f} %"


def number(value: float | None, digits: int = 0) -> str:
    """A number with thousands apart; tenths only where they carry something."""
    if not known(value):
        return NONE
    return f"{value:,.{digits}f}".replace(",", "\u202f").replace("-", "−")


def minutes(seconds: float | None) -> str:
    """A length of time in minutes; tenths below ten minutes, whole minutes above."""
    if not known(seconds):
        return NONE
    length_min = seconds / 60
    return f"{number(length_min, 1 if 0 < abs(length_min) < 9.95 else 0)} min"


def age(seconds: float | None) -> str:
    """How old something is: seconds while it is fresh, then minutes, then days."""
    if not known(seconds):
        return "of unknown age"
    if seconds >= DAYS_FROM_S:
        return f"{number(seconds / 86_400, 0)} days old"
    return f"{max(0, seconds):.0f} s old" if seconds < 120 else f"{minutes(seconds)} old"


def horizon(seconds: int) -> str:
    """How far ahead a probability looks."""
    if seconds < 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def instant(unix_ms: float | None) -> str:
    """Date and time in UTC, the zone always said."""
    at = _utc(unix_ms)
    return NONE if at is None else f"{at.day} {at:%b %Y %H:%M:%S} UTC"


def clock(unix_ms: float | None) -> str:
    """Time of day in UTC, the zone always said."""
    at = _utc(unix_ms)
    return NONE if at is None else f"{at:%H:%M:%S} UTC"


def _utc(unix_ms: float | None) -> datetime | None:
    # past year 9999 the calendar ends; such an instant is a fault of the sender, not a reason to fail
    if not known(unix_ms) or not 0 <= unix_ms < 253_402_300_800_000:
        return None
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def time_to_failure(quantiles_s: Sequence[float | None] | None) -> str:
    """Median and 80 % interval of the time to failure; what lies beyond the last horizon is said so.

    >>> time_to_failure([300, 840, 1860])
    '14 min (5–31)'
    """
    low, middle, high = (list(quantiles_s or ()) + [None, None, None])[:3]
    if not known(middle):
        return f"not before {minutes(low)}" if known(low) else "none foreseen"
    if not known(low) and not known(high):
        return minutes(middle)
    ends = [f"{end / 60:.0f}" if known(end) else "" for end in (low, high)]
    if not ends[0]:
        return f"{minutes(middle)} (up to {ends[1]})"
    return f"{minutes(middle)} ({ends[0]}–{ends[1]})" if ends[1] else f"{minutes(middle)} ({ends[0]} or more)"


def kind(name: str) -> str:
    """A component kind as a word."""
    return _KINDS.get(name, name.replace("_", " "))


def label(text: str) -> str:
    """The label of a plan or a state as a phrase with a capital: `do_nothing` is 'Do nothing'."""
    phrase = text.replace("_", " ").strip()
    return phrase[:1].upper() + phrase[1:]


def count(n: int, noun: str) -> str:
    """'1 plan', '3 plans'."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def safe(text: object) -> str:
    """Text from outside for a place that reads Markdown: nothing in it is taken for markup."""
    flat = " ".join(str(text).split())
    return _MARKDOWN.sub(r"\\\1", flat)
