"""Where healthy values of a component lie: from the site's own ratings and set-points, else from the channel table.

A band is wide: load between idle and full, an aisle some kelvin around its set-point. It is no alarm limit; it only
says which of several units a number can be in. Zero says nothing, nor does what a machine draws that is off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plant.channels import CHANNELS
from plant.errors import SiteFileError
from plant.site import Site

# Power that a machine draws while it is off: its management controller and its supplies at rest.
STANDBY_KW, FAINT_KW = 0.035, 0.003
# Least share of idle power that still counts as running; most share of peak power, losses and meter errors included.
IDLE_FRAC, PEAK_FRAC = 0.4, 1.5


@dataclass(frozen=True)
class Band:
    """Values of [low, high] are healthy; zero, and sizes from `faint` to `quiet`, tell nothing; `said` is why."""

    low: float
    high: float
    quiet: float = 0.0
    faint: float = 0.0
    said: str = "usual values"

    def holds(self, value: np.ndarray) -> np.ndarray:
        """Which values lie in the band."""
        return np.asarray((value >= self.low) & (value <= self.high))

    def silent(self, value: np.ndarray) -> np.ndarray:
        """Which values tell nothing."""
        size = np.abs(value)
        return np.asarray((size == 0.0) & (self.quiet > 0.0) | (size >= self.faint) & (size <= self.quiet))


class Expected:
    """Bands of one site, or of any site where there is none."""

    def __init__(self, site: Site | None) -> None:
        self._site = site
        self._typical: dict[tuple[str, str], Band] = {}
        for row in CHANNELS:
            if row.typical is not None:
                band = Band(*row.typical, quiet=_quiet(row.unit))
                self._typical[row.kind, row.name] = band
                wide = self._typical.get(("", row.name), band)
                low, high = min(wide.low, band.low), max(wide.high, band.high)
                self._typical["", row.name] = Band(low, high, band.quiet)
        self._ratings: dict[tuple[str, str], Callable[[Site, int], Band]] = dict(_RATINGS)

    def band(self, kind: str, component: str, channel: str) -> Band | None:
        """The band of a channel of a component; None where nothing is known. `kind` "" stands for any."""
        rating = self._ratings.get((kind, channel))
        if rating is not None and self._site is not None:
            try:
                band = rating(self._site, self._site.index(kind, component))
            except SiteFileError:  # no component of this site
                return self._typical.get((kind, channel))
            if np.isfinite([band.low, band.high]).all() and band.high > band.low:
                return band
        return self._typical.get((kind, channel))


def _quiet(unit: str) -> float:
    """What counts as nothing where nothing is rated."""
    return {"kW": 0.002, "s": 1.0, "rpm": 1.0, "A": 0.05, "V": 1.0, "Hz": 1.0, "kPa": 0.001, "L/min": 0.5}.get(
        unit, 0.0
    )


def _power(low_kw: float, high_kw: float, quiet_kw: float, said: str) -> Band:
    quiet_kw = min(quiet_kw, 0.5 * low_kw)
    return Band(low_kw, high_kw, quiet_kw, min(quiet_kw * FAINT_KW / STANDBY_KW, quiet_kw), said)


def _node_kw(site: Site, n: int) -> Band:
    idle, peak = float(site.node_idle_kw[n]), float(site.node_peak_kw[n])
    return _power(IDLE_FRAC * idle, PEAK_FRAC * peak, STANDBY_KW, f"a node of {idle:g} to {peak:g} kW")


def _gpu_kw(site: Site, n: int) -> Band:
    peak = float(site.node_peak_kw[n])
    return _power(0.01 * peak, PEAK_FRAC * peak, 0.002, f"accelerators of a node of {peak:g} kW")


def _nodes(site: Site, which: np.ndarray, said: str, share: float = 1.0, more: float = 1.0) -> Band:
    """Power of several nodes; `share` of their idle power at least, `more` times their peak at most."""
    idle, peak = float(site.node_idle_kw[which].sum()), float(site.node_peak_kw[which].sum())
    quiet = STANDBY_KW * int(which.sum())
    return _power(share * IDLE_FRAC * idle, more * PEAK_FRAC * peak, quiet, f"{said} of {idle:.4g} to {peak:.4g} kW")


def _rack_kw(site: Site, r: int) -> Band:
    return _nodes(site, np.asarray(site.node_rack == r), "a rack")


def _pdu_kw(site: Site, p: int) -> Band:
    return _nodes(site, np.asarray(site.node_rack == site.chain.pdu_rack[p]), "a PDU of a rack", share=0.1)


def _hall_kw(site: Site, h: int) -> Band:
    return _nodes(site, np.asarray(site.node_hall == h), "a hall")


def _region_kw(site: Site, g: int) -> Band:
    return _nodes(site, np.asarray(site.hall_region[site.node_hall] == g), "a region", more=2.0)


def _psu_kw(site: Site, row: int) -> Band:
    owner = int(np.searchsorted(np.cumsum(site.psu_per_node), row, side="right"))
    idle, peak = float(site.node_idle_kw[owner]), float(site.node_peak_kw[owner])
    supplies = max(int(site.psu_per_node[owner]), 1)
    low, quiet = 0.1 * idle / supplies, STANDBY_KW
    return Band(low, PEAK_FRAC * peak, min(quiet, max(low, 0.02)), 0.001, f"a supply of a node of {peak:g} kW")


def _ups_kw(site: Site, u: int) -> Band:
    rated = float(site.ups_rated_kw[u])
    return _power(0.02 * rated, 1.3 * rated, 0.002 * rated, f"a UPS of {rated:g} kW")


def _ups_runtime(site: Site, u: int) -> Band:
    """From full load to a fiftieth of it, with room for what a UPS guesses."""
    full_s = 3600.0 * float(site.ups_battery_kwh[u]) / max(float(site.ups_rated_kw[u]), 1e-9)
    said = f"a battery that lasts {full_s:.3g} s at full load"
    return Band(min(60.0, full_s / 3), max(14_400.0, 50.0 * full_s), 1.0, said=said)


def _battery_v(site: Site, u: int) -> Band:
    """Large UPS have strings of hundreds of volts, small ones of tens."""
    rated = float(site.ups_rated_kw[u])
    return Band(10.0, 130.0 if rated < 3.0 else 620.0, 1.0, said=f"the battery of a UPS of {rated:g} kW")


def _feed_kw(site: Site, f: int) -> Band:
    most = float(site.feed_capacity_kw[f])
    return _power(0.002 * most, 1.3 * most, 2e-4 * most, f"a feed of {most:g} kW")


def _chiller_kw(site: Site, k: int) -> Band:
    full = float(site.chiller_capacity_kw[k]) / max(float(site.chiller_cop[k]), 0.5)
    return _power(0.03 * full, 4.0 * full, 0.003 * full, f"a chiller that draws {full:.3g} kW at full load")


def _unit_kw(site: Site, c: int) -> Band:
    """Fans by the cube of their speed, and the compressor of a unit that has one."""
    fan, capacity = float(site.unit_fan_kw[c]), float(site.cooling.unit_capacity_kw[c])
    taken = capacity / max(float(site.cooling.unit_cop[c]), 0.5) if site.cooling.unit_dx[c] else 0.0
    full = fan + (taken if np.isfinite(taken) else 3.0 * fan)
    return _power(0.01 * fan, 1.6 * full, 0.001 * fan, f"a cooling unit that draws {full:.3g} kW at full speed")


def _air(supply_c: float, down_k: float, up_k: float) -> Band:
    return Band(supply_c - down_k, supply_c + up_k, said=f"air supplied at {supply_c:g} C")


def _water(supply_c: float, down_k: float, up_k: float) -> Band:
    return Band(max(supply_c - down_k, 1.0), supply_c + up_k, said=f"water supplied at {supply_c:g} C")


def _hall_air(down_k: float, up_k: float) -> Callable[[Site, int], Band]:
    return lambda site, h: _air(float(site.hall_supply_c[h]), down_k, up_k)


def _rack_air(down_k: float, up_k: float) -> Callable[[Site, int], Band]:
    return lambda site, r: _air(float(site.hall_supply_c[site.rack_hall[r]]), down_k, up_k)


def _node_air(down_k: float, up_k: float) -> Callable[[Site, int], Band]:
    return lambda site, n: _air(float(site.hall_supply_c[site.node_hall[n]]), down_k, up_k)


def _unit_air(down_k: float, up_k: float) -> Callable[[Site, int], Band]:
    return lambda site, c: _air(float(site.hall_supply_c[site.unit_hall[c]]), down_k, up_k)


def _loop_water(down_k: float, up_k: float) -> Callable[[Site, int], Band]:
    return lambda site, loop: _water(float(site.loop_supply_c[loop]), down_k, up_k)


def _outdoor(site: Site, g: int) -> Band:
    mean = float(site.region_outdoor_c[g])
    return Band(mean - 35.0, mean + 24.0, said=f"a region of {mean:g} C in the mean")


_RATINGS: tuple[tuple[tuple[str, str], Callable[[Site, int], Band]], ...] = (
    (("node", "power_kw"), _node_kw),
    (("node", "gpu_power_kw"), _gpu_kw),
    (("node", "gpu_mean_kw"), _gpu_kw),
    (("node", "gpu_cap_kw"), _gpu_kw),
    (("rack", "power_kw"), _rack_kw),
    (("pdu", "power_kw"), _pdu_kw),
    (("hall", "power_kw"), _hall_kw),
    (("region", "power_kw"), _region_kw),
    (("psu", "power_in_kw"), _psu_kw),
    (("psu", "power_out_kw"), _psu_kw),
    (("ups", "power_kw"), _ups_kw),
    (("ups", "runtime_s"), _ups_runtime),
    (("ups", "battery_v"), _battery_v),
    (("feed", "power_kw"), _feed_kw),
    (("chiller", "power_kw"), _chiller_kw),
    (("cooling_unit", "power_kw"), _unit_kw),
    (("region", "outdoor_c"), _outdoor),
    (("hall", "supply_c"), _hall_air(12.0, 18.0)),
    (("hall", "hot_c"), _hall_air(5.0, 38.0)),
    (("rack", "inlet_c"), _rack_air(13.0, 22.0)),
    (("rack", "outlet_c"), _rack_air(5.0, 40.0)),
    (("node", "inlet_c"), _node_air(13.0, 22.0)),
    (("node", "outlet_c"), _node_air(8.0, 42.0)),
    (("cooling_unit", "supply_c"), _unit_air(12.0, 18.0)),
    (("cooling_unit", "return_c"), _unit_air(6.0, 36.0)),
    (("loop", "supply_c"), _loop_water(8.0, 16.0)),
    (("loop", "return_c"), _loop_water(6.0, 28.0)),
)
