"""The one table of what can be measured. It drives parsing, checks, documentation and screens.

A row says: channel name, component kind, unit, physically possible range, usual cadence, meaning, where healthy values
lie, and what the usual sources call it. Ranges are wide on purpose: they refuse raw sensor codes and wrong units, not
bad news. Names of sources are theirs (field of a Telegraf plugin, DCGM field, Redfish property, IPMI sensor, NUT
variable, node_exporter metric); units of sources are converted by mapping files, not here.

The rows stand in `plant.channeltable`, what a row is in `plant.channel`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plant.channel import REASONS, SOURCES, Channel
from plant.channeltable import CHANNELS
from plant.errors import TelemetryError

__all__ = (
    "CHANNELS", "CHANNEL_KINDS", "REASONS", "SOURCES", "Channel", "channel", "channels_of", "check", "check_many",
    "named_by",
)  # fmt: skip

_BY_KEY: dict[tuple[str, str], Channel] = {row.key: row for row in CHANNELS}
CHANNEL_KINDS: tuple[str, ...] = tuple(dict.fromkeys(row.kind for row in CHANNELS))


def channel(kind: str, name: str) -> Channel:
    """The row of one channel. Raises TelemetryError that names the channels of the kind."""
    row = _BY_KEY.get((kind, name))
    if row is None:
        known = " ".join(row.name for row in channels_of(kind)) or f"none; kinds are {' '.join(CHANNEL_KINDS)}"
        raise TelemetryError(f"channel {kind}.{name}", "no such channel", f"channels of {kind}: {known}")
    return row


def channels_of(kind: str) -> tuple[Channel, ...]:
    """All channels of a component kind, in table order."""
    return tuple(row for row in CHANNELS if row.kind == kind)


def check(kind: str, name: str, value: float) -> str | None:
    """Why a reading is refused, one of REASONS, or None when it may be stored.

    >>> check("rack", "inlet_c", 412.0)
    'above_range'
    """
    row = _BY_KEY.get((kind, name))
    return REASONS[4] if row is None else row.reason(value)


def check_many(kind: str, name: str, values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Code of each value, an index into REASONS; 0 may be stored. Same shape as `values`.

    >>> check_many("node", "util_frac", np.array([0.5, 1.5, np.nan])).tolist()
    [0, 3, 1]
    """
    row = _BY_KEY.get((kind, name))
    if row is None:
        return np.full(np.shape(values), 4, dtype=np.uint8)
    codes = np.zeros(np.shape(values), dtype=np.uint8)
    codes[values < row.low] = 2
    codes[values > row.high] = 3
    codes[~np.isfinite(values)] = 1
    return codes


def named_by(source: str, alias: str) -> tuple[Channel, ...]:
    """Channels that a source calls `alias`: none, one, or several when the name alone does not decide the kind."""
    return tuple(row for row in CHANNELS if alias in row.aliases.get(source, ()))
