"""What nobody measures stands where it must have stood for long when a sensor speaks for the first time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.derived import Derived
from twin.sync.names import Key


def begin(d: Derived, key: Key, new_at: NDArray[np.int64]) -> None:
    """Settle what stands beside the sensors of a channel that are heard for the first time (positions), in place."""
    s = d.state
    if key == ("hall", "hot_c"):  # walls and steel have had the air of this hall for hours
        s.hall_structure_c[:, new_at] = s.hall_hot_c[:, new_at]
    elif key == ("rack", "outlet_c"):
        # the twin at rest has the equipment at idle; minutes of warming up would be blamed on the rack's flow
        excess_k = d.rack_kw[:, new_at] / s.rack_ua_kw_per_k[:, new_at]
        s.rack_mass_c[:, new_at] = s.rack_air_c[:, new_at] + excess_k
