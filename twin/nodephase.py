"""The phases of a node, as `State.node_phase` holds them."""

ON, STOPPED, FAILED, STARTING, DARK = range(5)
