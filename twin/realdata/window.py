"""Windows of time as people write them: days since the first reading (`1..2`), clock times or instants, all in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from plant.errors import ConfigError

DAY_MS = 86_400_000
ALLOWED = (
    "DAY..DAY (days since the first submission, both included, 1 is the first), HH:MM..HH:MM (of the first day, UTC)"
    " or FROM..TO (ISO instants, UTC)"
)
_DAYS = re.compile(r"^\s*(\d{1,5})\s*\.\.\s*(\d{1,5})\s*$")
_CLOCK = re.compile(r"^\s*([01]?\d|2[0-3]):([0-5]\d)\s*\.\.\s*([01]?\d|2[0-4]):([0-5]\d)\s*$")


def parse_window(text: str, epoch_ms: int, step_ms: int, samples: int, name: str) -> slice:
    """Return the samples of a window; sample i is the reading at epoch + (i + 1) * step, FROM excluded and TO included.

    The window is cut to what was measured. Raises ConfigError when it cannot be read or holds no sample.
    """
    first_ms, last_ms = _ends_ms(text, epoch_ms, name)
    low = max(0, first_ms // step_ms)
    high = min(samples, last_ms // step_ms)
    if high <= low:
        length_d = samples * step_ms / DAY_MS
        raise ConfigError(
            where=name,
            found=f"'{text}', which holds no power reading",
            allowed=f"a window inside {shown(0, epoch_ms)}..{shown(samples * step_ms, epoch_ms)} ({length_d:.2g} days)",
            cure="choose another window",
        )
    return slice(int(low), int(high))


def require_apart(fit: slice, test: slice) -> None:
    """Raise ConfigError when the two windows share a sample: an error on fitted data says nothing."""
    if fit.start < test.stop and test.start < fit.stop:
        raise ConfigError(
            where="--fit, --test",
            found="windows that overlap",
            allowed="windows without a common reading",
            cure="move one of them",
        )


def shown(offset_ms: int, epoch_ms: int) -> str:
    """Return an instant as it may be typed again."""
    return datetime.fromtimestamp((epoch_ms + offset_ms) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ends_ms(text: str, epoch_ms: int, name: str) -> tuple[int, int]:
    days = _DAYS.match(text)
    if days:
        first, last = int(days[1]), int(days[2])
        if first < 1 or last < first:
            raise ConfigError(name, f"'{text}'", ALLOWED, "write the smaller day first, from 1 on")
        return (first - 1) * DAY_MS, last * DAY_MS
    clock = _CLOCK.match(text)
    if clock:
        midnight_ms = epoch_ms // DAY_MS * DAY_MS - epoch_ms
        hours = [60 * int(clock[i]) + int(clock[i + 1]) for i in (1, 3)]
        if hours[1] <= hours[0]:
            raise ConfigError(name, f"'{text}'", ALLOWED, "write the earlier time first")
        return midnight_ms + 60_000 * hours[0], midnight_ms + 60_000 * hours[1]
    parts = text.split("..")
    if len(parts) != 2:
        raise ConfigError(name, f"'{text}'", ALLOWED, "put two dots between the two ends")
    return _instant_ms(parts[0], name) - epoch_ms, _instant_ms(parts[1], name) - epoch_ms


def _instant_ms(text: str, name: str) -> int:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(name, f"'{text}'", ALLOWED, "write it like 2022-10-08T22:00:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
