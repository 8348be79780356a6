"""Why a piece of cooling plant stands still: reasons that add up, so that one may end while another still holds.

`unit_off`, `pump_off`, `cdu_off` and `chiller_off` of `State` hold sums of these; 0 means that nothing is in its way.
"""

from __future__ import annotations

BROKEN = 1  # failed, until it is repaired
NO_POWER = 2
STANDING_BY = 4  # healthy and not asked for; chillers have a phase for it
COMING_UP = 8  # on its way to full flow; chillers have a phase for it
LOW_FLOW = 16  # protective trip: too little water
HIGH_PRESSURE = 32  # protective trip: condensing too hot
LOCKED = 64  # waits for a person to reset it

CHILLER_ON, STANDBY, TRIPPED, STARTING = range(4)
"""Phases of a chiller."""
