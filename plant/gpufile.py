"""What a site file says about the accelerators and fans of a node type, with unit, bounds and meaning of every key."""

from __future__ import annotations

from pydantic import Field

from plant.keys import Part, number


class GpuTable(Part):
    """Heat of a node's accelerators: the hottest one, its memory, and what the firmware does when they are hot.

    Steady state: inlet + preheat_k (node power / peak) / speed + P (chip_k_per_kw + air_k_per_kw / speed^0.8), P the
    power of one accelerator and speed that of the fans. Thresholds: notes/incidents.md B.5.
    """

    idle_kw: float = number("kW", 0, 5, "power of one accelerator while the node is idle")
    peak_kw: float = number("kW", 0.01, 5, "power of one accelerator at full load")
    chip_k_per_kw: float = number("K/kW", 0, 1000, "chip to heat sink or cold plate, hottest accelerator")
    air_k_per_kw: float = number("K/kW", 0, 1000, "heat sink to air at full fan speed; 0: liquid", 0.0)
    preheat_k: float = number("K", 0, 40, "air warmed in front of it, at peak power and full fan speed", 0.0)
    tau_s: float = number("s", 1, 600, "time constant at full fan speed", 30.0)
    mem_tau_s: float = number("s", 1, 600, "time constant of the memory above the chip", 20.0)
    mem_above_idle_k: float = number("K", 0, 60, "memory above the chip at idle", 12.0)
    mem_above_peak_k: float = number("K", 0, 60, "memory above the chip at full load", 4.0)
    slow_c: float = number("C", 50, 120, "the firmware slows down a little", 85.0)
    hard_c: float = number("C", 50, 125, "it slows down much", 89.0)
    stop_c: float = number("C", 50, 130, "the node shuts itself down", 92.0)
    mem_slow_c: float = number("C", 50, 130, "the memory loses bandwidth", 95.0)


class FanTable(Part):
    """The fans of a node: speed in steps by its hottest accelerator, or by its inlet where it has none."""

    kw: float = number("kW", 0, 10, "power at full speed; cube law below; part of the node's idle and peak power")
    above_c: tuple[float, ...] = Field(
        description="temperatures above which the next speed is taken, rising", json_schema_extra={"unit": "C"}
    )
    speed_frac: tuple[float, ...] = Field(
        min_length=2, description="speeds, one more than above_c, rising to 1", json_schema_extra={"unit": "fraction"}
    )
    design_frac: float = number("fraction", 0.05, 1, "speed at which the rack's air_rise_k holds", 0.6)
