"""An incident's story written into an agenda: causes when they happen, repairs when they come. Outcomes never enter."""

from __future__ import annotations

from plant.errors import IncidentFileError
from plant.incident import ResolvedCause, ResolvedIncident
from plant.network import DOWN, FLAPPING, LOSSY
from plant.networkfaults import LOSS_HIGH, LOSS_LOW
from plant.site import Site
from twin import cooling_story, power_story
from twin.cooling_story import COOLING_FAULTS
from twin.power_story import POWER_FAULTS
from twin.state import State

NEVER_MS = 4 * 24 * 3_600_000  # what no repair of the file clears stays broken beyond any replay

NETWORK_FAULTS = {
    "link_degrades": LOSSY, "link_flaps": FLAPPING, "link_fails": DOWN, "switch_fails": DOWN, "grey_switch": LOSSY,
}  # fmt: skip


def write(state: State, site: Site, world: ResolvedIncident) -> None:
    """Add every cause and repair of one possible world; raises IncidentFileError for a kind the twin does not know."""
    for cause in world.causes:
        _write_cause(state, site, world, cause)


def _write_cause(state: State, site: Site, world: ResolvedIncident, cause: ResolvedCause) -> None:
    at_ms = world.at_ms(cause.at_min)
    for component in cause.components:
        back_ms = _repaired_ms(world, component, at_ms)
        if cause.kind == "loop_airlock":
            _airlock(state, world, cause, component, back_ms)
        elif cause.kind in COOLING_FAULTS:
            cooling_story.write_cause(state, site, world, cause, component, back_ms)
        elif cause.kind in POWER_FAULTS:
            power_story.write_cause(state, world, cause, component, back_ms)
        elif cause.kind == "fan_fails":
            _fans(state, site, world, cause, component, back_ms)
        elif cause.kind == "node_fails":
            warned = cause.onset_min < cause.at_min
            first_ms = world.at_ms(cause.onset_min) if warned else at_ms
            data = {"fails_ms": at_ms, "repaired_ms": back_ms}
            state.agenda.add(first_ms, "node", component, "signs" if warned else "fail", data)
        elif cause.kind in NETWORK_FAULTS:
            _network(state, site, cause, component, at_ms, back_ms)
        else:
            raise IncidentFileError(
                f"incident {world.id}: cause {cause.name}",
                f"kind '{cause.kind}', which the twin cannot play yet",
                "loop_airlock fan_fails node_fails " + " ".join((*COOLING_FAULTS, *POWER_FAULTS, *NETWORK_FAULTS)),
                "describe the cause by one of these",
            )


def _fans(state: State, site: Site, world: ResolvedIncident, cause: ResolvedCause, node: str, back_ms: int) -> None:
    """The fans of a node fail; severity is the share of their air that is lost."""
    fans = site.gpus.node[site.gpus.has_fans]
    if site.index("node", node) not in fans:
        raise IncidentFileError(
            f"incident {world.id}: cause {cause.name}",
            f"node '{node}' has no fans of its own in site '{site.name}'",
            "a node whose type has a fans table",
            "add [node_type.fans], or let its type be like one of data/node_types",
        )
    fail_ms = world.at_ms(cause.at_min)
    phase, at_ms = ("wear", world.at_ms(cause.onset_min)) if cause.onset_min < cause.at_min else ("fail", fail_ms)
    data = {"lost_frac": cause.severity, "fail_ms": fail_ms, "replaced_ms": back_ms}
    state.agenda.add(at_ms, "fan", node, phase, data)


def _network(state: State, site: Site, cause: ResolvedCause, component: str, at_ms: int, back_ms: int) -> None:
    """A link degrades, flaps or fails, or a switch does; severity 1 of a grey fault is the worst loss that is known."""
    fault = NETWORK_FAULTS[cause.kind]
    # even steps on a logarithmic scale: severity 0 is the least loss that counts as corruption
    loss_frac = LOSS_LOW * (LOSS_HIGH / LOSS_LOW) ** cause.severity if fault == LOSSY else 0.0
    kind = "switch" if component in site.network.switch_ids else "link"
    data = {"fault": fault, "loss_frac": loss_frac, "repaired_ms": back_ms}
    state.agenda.add(at_ms, kind, component, "fault", data)


def _airlock(state: State, world: ResolvedIncident, cause: ResolvedCause, loop: str, back_ms: int) -> None:
    names = dict(world.values)
    data = {
        "trip_ms": world.at_ms(cause.at_min),
        "trip_flow_frac": names.get("trip_flow_frac", 0.45),
        "residual_flow_frac": 1.0 - cause.severity,
        "bled_ms": back_ms,
    }
    phase = "ingress" if cause.onset_min < cause.at_min else "low_flow"
    state.agenda.add(world.at_ms(cause.onset_min), "loop_airlock", loop, phase, data)


def _repaired_ms(world: ResolvedIncident, component: str, at_ms: int) -> int:
    """Return when a component comes back: the first repair of it after the fault, else beyond any replay."""
    times = [world.at_ms(r.at_min) for r in world.repairs if component in r.components]
    return min((t for t in times if t > at_ms), default=at_ms + NEVER_MS)
