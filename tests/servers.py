"""Real servers for tests: InfluxDB 1.6 behind nginx (`verbs.scratch_influx`), and free ports for others."""

from __future__ import annotations

from verbs.scratch_influx import TOKEN, InfluxServer, free_ports, missing_for_influx

__all__ = ["TOKEN", "InfluxServer", "free_ports", "missing_for_influx"]
