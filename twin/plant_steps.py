"""Which steps the plant of an emulated site can take, checked in words before anything is touched."""

from __future__ import annotations

from plant.actions import Action
from plant.site import Site

TAKES = {
    "set_cooling": ("hall", "loop"),
    "start_standby": ("chiller", "pump"),
    "transfer_feed": ("ups", "hall", "rack"),
    "disable_link": ("link",),
}
"""Kind of step -> kinds of component that it can act on."""


def check_plant_step(site: Site, step: Action) -> None:
    """Raise ValueError that says what the site does not have or does not emulate."""
    kinds = TAKES.get(step.kind)
    if kinds is None:
        raise ValueError(f"plant control '{step.kind}' is not emulated")
    if step.get("fan_frac") is not None:
        raise ValueError("fan_frac is not emulated: fans follow the air that the racks ask for")
    feed = step.get("to_feed")
    if feed is not None and feed not in site.feed_ids:
        raise ValueError(f"no feed '{feed}'")
    for one in step.scope:
        kind = site.kind_of(one)
        if kind is None:
            raise ValueError(f"no component '{one}'")
        if kind not in kinds:
            raise ValueError(f"{step.kind} of a {kind} ('{one}') is not emulated; it takes {' or '.join(kinds)}")


def nothing_done(step: Action) -> str:
    """Return why a valid step changed nothing, empty where that is an answer too."""
    return {
        "start_standby": f"no chiller stands by for {', '.join(step.scope)}",
        "transfer_feed": f"feed '{step.get('to_feed')}' is dead, does not reach them, or carries them already",
        "disable_link": f"{', '.join(step.scope)}: out already, or the others would not carry on",
    }.get(step.kind, "")
