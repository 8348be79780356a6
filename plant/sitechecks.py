"""Cross-checks of a site file, one named function each; every one returns the faults it finds."""

from __future__ import annotations

from collections.abc import Callable

from plant.errors import Fault
from plant.sitefile import SiteFile

Check = Callable[[SiteFile], list[Fault]]
NAMES: tuple[Check, ...] = ()
SIZES: tuple[Check, ...] = ()
