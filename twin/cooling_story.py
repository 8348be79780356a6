"""The cooling causes of an incident written into an agenda."""

from __future__ import annotations

from plant.incident import ResolvedCause, ResolvedIncident
from plant.site import Site
from twin.state import State

COOLING_FAULTS = (
    "chiller_trip", "standby_fails", "cooling_unit_stop", "pump_trip", "cdu_pump_fails", "control_freeze", "heatwave",
)  # fmt: skip
HEATWAVE_K = 20.0  # a complete heat wave where the file gives no temperature [assumed]
HEATWAVE_FALL_MS = 4 * 3_600_000  # how slowly an evening cools [assumed]


def write_cause(
    state: State, site: Site, world: ResolvedIncident, cause: ResolvedCause, component: str, back_ms: int
) -> None:
    """Write one cause for one component; back_ms is when it is repaired, far ahead where the file has no repair."""
    at_ms, back = world.at_ms(cause.at_min), {"repaired_ms": back_ms}
    if cause.kind == "chiller_trip":
        # where its loop has a control, a trip without a repair in the file ends as the plant's own rules end it
        loop = int(site.chiller_loop[site.index("chiller", component)])
        mended = any(component in repair.components for repair in world.repairs)
        own = bool(site.cooling.loop_controlled[loop]) and not mended
        state.agenda.add(at_ms, "chiller", component, "shock" if own else "trip", {} if own else back)
    elif cause.kind == "standby_fails":  # calls no stand-in
        state.agenda.add(at_ms, "chiller", component, "out", back)
    elif cause.kind == "heatwave":
        _heatwave(state, site, world, cause, component, back_ms)
    else:
        kind = {"cooling_unit_stop": "cooling_unit", "pump_trip": "pump", "cdu_pump_fails": "cdu"}.get(cause.kind)
        state.agenda.add(at_ms, kind or "control", component, "stop" if kind else "freeze", back)


def _heatwave(
    state: State, site: Site, world: ResolvedIncident, cause: ResolvedCause, region: str, back_ms: int
) -> None:
    """It grows hot from the first sign on, stays so from at_min until the repair, then cools."""
    mean_c = float(site.region_outdoor_c[site.index("region", region)])
    peak_c = dict(world.values).get("heatwave_c", mean_c + HEATWAVE_K * cause.severity)
    data = {
        "peak_k": peak_c - mean_c,
        "peak_ms": world.at_ms(cause.at_min),
        "over_ms": back_ms,
        "fall_ms": HEATWAVE_FALL_MS,
    }
    phase = "rise" if cause.onset_min < cause.at_min else "peak"
    state.agenda.add(world.at_ms(cause.onset_min), "weather", region, phase, data)
