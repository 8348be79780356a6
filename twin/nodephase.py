"""The phases of a node, as `State.node_phase` holds them, and what marks the ends of its lives."""

ON, STOPPED, FAILED, STARTING, DARK = range(5)
NEVER_MS = 2**62  # nothing is due
HEALTHY = -1  # `node_fault` of a node without any
SPENT = 1e300  # `node_fails_at` of a life that is over: no hazard reaches it
