"""Placement inside the twin: which nodes a waiting job gets. The default is first fit; `scheduler` supplies others."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Dispatcher(Protocol):
    """Chooses nodes for one job in many member rows at once; each row must be decided alone."""

    def __call__(self, fits: Flags, width: int) -> tuple[Flags, Ints]:
        """Return (rows that can be served (m,), nodes for them (served, width)) given where a share fits (m, N)."""


def first_fit(fits: Flags, width: int) -> tuple[Flags, Ints]:
    """Take the first `width` nodes that fit, row by row; a row with fewer gets none (a gang starts whole)."""
    rank = np.cumsum(fits, axis=1)
    served = rank[:, -1] >= width
    chosen = fits[served] & (rank[served] <= width)
    return served, np.nonzero(chosen)[1].reshape(-1, width).astype(np.int64)
