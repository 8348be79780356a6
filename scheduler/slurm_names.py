"""Names of Slurm's nodes joined to the nodes of a site: by the last step of their ids, a domain behind it or not."""

from __future__ import annotations

from collections.abc import Sequence

from plant.errors import ConfigError
from plant.ranges import collapse
from plant.references import did_you_mean
from plant.site import Site


class NodeNames:
    """Name -> id and row of a site's nodes, in the halls that this Slurm runs (empty: all)."""

    def __init__(self, site: Site, halls: Sequence[str] = ()) -> None:
        """Raises ConfigError for a hall that is not there, and for names that two of these halls share."""
        for hall in halls:
            if hall not in site.hall_ids:
                allowed = f"one of {' '.join(site.hall_ids)}"
                raise ConfigError("scheduler.halls", f"no hall '{hall}'", allowed, did_you_mean(hall, site.hall_ids))
        self.site = site
        self._row: dict[str, int] = {}
        twice: list[str] = []
        for row, name in enumerate(site.node_ids):
            if halls and site.hall_ids[site.node_hall[row]] not in halls:
                continue
            short = name.rpartition("/")[2]
            if short in self._row:
                twice.append(short)
            self._row[short] = row
        if twice:
            found = f"{collapse(twice)[:100]} stands in several halls"
            cure = "say which halls this Slurm runs: halls = [...] under [scheduler]"
            raise ConfigError("scheduler.halls", found, "node names that occur once", cure)

    def row(self, name: str) -> int | None:
        """The row of a node in the site, or None for one that the site does not have."""
        found = self._row.get(name)
        return found if found is not None else self._row.get(name.partition(".")[0])

    def id(self, name: str) -> str | None:
        """The id of a node, or None."""
        row = self.row(name)
        return None if row is None else self.site.node_ids[row]

    def hall(self, row: int) -> str:
        """The hall of a node's row."""
        return self.site.hall_ids[self.site.node_hall[row]]
