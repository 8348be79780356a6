"""Causes of the power chain, from an incident's story into an agenda."""

from __future__ import annotations

from plant.incident import ResolvedCause, ResolvedIncident
from twin.state import State

FEED_SAG_S = 0.5  # how long a sag lasts where the file has no assumed value "sag_s": tenths of a second [assumed]
# kind of cause -> kind of entry, its phase, name of the instant at which the component comes back
LOST = {
    "feed_loss": ("feed", "lost", "back_ms"),
    "ups_module_fails": ("ups", "module_out", "repaired_ms"),
    "generator_fails": ("generator", "fail", "repaired_ms"),
    "psu_fails": ("psu", "fail", "replaced_ms"),
}
POWER_FAULTS = (*LOST, "feed_sag")


def write_cause(state: State, world: ResolvedIncident, cause: ResolvedCause, component: str, back_ms: int) -> None:
    """Add one cause of POWER_FAULTS for one component; the severity of a sag is its depth as a share of the voltage."""
    at_ms = world.at_ms(cause.at_min)
    if cause.kind == "feed_sag":
        lasts_s = dict(world.values).get("sag_s", FEED_SAG_S)
        state.agenda.add(at_ms, "feed", component, "sag", {"depth_frac": cause.severity, "lasts_s": lasts_s})
        return
    kind, phase, back = LOST[cause.kind]
    state.agenda.add(at_ms, kind, component, phase, {back: back_ms})
