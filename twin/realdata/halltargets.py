"""What a hall's racks read per round of polls, and a model's series at those instants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twin.realdata.tables import Floats


@dataclass(frozen=True)
class Targets:
    """Rack means per round of polls and where they lie on the grid: at_s, inlet_c, outlet_c (racks, rounds)."""

    at_s: Floats
    inlet_c: Floats
    outlet_c: Floats

    def sample(self, series: Floats, dt_s: float) -> Floats:
        """Return a series (cells, m, racks) at the rounds, (m, racks, rounds); cell i ends at (i + 1) dt."""
        place = np.clip(np.nan_to_num(self.at_s) / dt_s - 1.0, 0.0, len(series) - 1.000001)
        low = place.astype(np.int64)
        part = place - low
        racks = np.arange(series.shape[2])[:, None]
        before, after = series[low, :, racks], series[np.minimum(low + 1, len(series) - 1), :, racks]
        return np.asarray(np.moveaxis(before + part[:, :, None] * (after - before), 2, 0))
