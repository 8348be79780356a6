"""Names of hosts and devices joined to components of the site: by the user's table, else by the site's own names.

A host `web-17.example.org:9100` meets the entry `web-17`, a pattern such as `web-(\\d+)`, or the one component whose id
ends in `web-17`. What an entry says may be such an ending too. A name that fits two components fits none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

DEPTH = 3
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_DIVIDERS = re.compile(r"[-_./: ]+")
_GROUP = re.compile(r"\{(\d+)\}")


class Hosts:
    """`table`: name or regular expression -> component id, or its end, with {1} for groups.

    `kind_of`: component id -> kind.
    """

    def __init__(self, table: Mapping[str, str], kind_of: Mapping[str, str] | None) -> None:
        self._table = dict(table)
        self._patterns = [(re.compile(pattern), component) for pattern, component in table.items()]
        self._kind_of = kind_of or {}

    def join(self, kind: str, name: str) -> str:
        """The component of a kind that a name means, or the name itself where nothing says so."""
        for form in _forms(name):
            found = self._by_table(form)
            if found is not None:
                return self._by_ending(kind, found)
        return self._by_ending(kind, name)

    def _by_ending(self, kind: str, name: str) -> str:
        """The component of a kind that is called so or whose id alone ends so, or the name itself."""
        if name in self._kind_of:
            return name
        mine = self._endings.get(kind, {})
        return next((mine[key] for form in _forms(name) if (key := plain(form)) in mine), name)

    def _by_table(self, name: str) -> str | None:
        if name in self._table:
            return _GROUP.sub("", self._table[name]) if "{" in self._table[name] else self._table[name]
        for pattern, component in self._patterns:
            match = pattern.fullmatch(name)
            if match is not None:
                return _expanded(component, match)
        return None

    @cached_property
    def _endings(self) -> dict[str, dict[str, str]]:
        """For each kind: the ends of ids, one to DEPTH steps long or whole, that belong to one component only."""
        owners: dict[str, dict[str, str | None]] = {}
        for component, kind in self._kind_of.items():
            mine = owners.setdefault(kind, {})
            steps = component.split("/")
            for depth in {*range(1, DEPTH + 1), len(steps)}:
                key = plain("/".join(steps[-depth:]))
                mine[key] = component if mine.get(key, component) == component else None
        return {kind: {key: one for key, one in mine.items() if one} for kind, mine in owners.items()}


def plain(name: str) -> str:
    """A name in lower case with one divider.

    >>> plain("Rack_07.Node/3")
    'rack-07-node-3'
    """
    return _DIVIDERS.sub("-", name.lower())


def bare(name: str) -> str:
    """The host in a name: of an address its host, without a port.

    >>> bare("http://web-17.example.org:9100/metrics")
    'web-17.example.org'
    """
    host = name.split("://", 1)[1].split("/", 1)[0] if "://" in name else name
    head, _, port = host.rpartition(":")
    return head if head and port.isdigit() else host


def _forms(name: str) -> list[str]:
    """The name, the host in it, and its first label where it is no address."""
    host = bare(name)
    short = host if _ADDRESS.fullmatch(host) else host.split(".")[0]
    return list(dict.fromkeys(form for form in (name, host, short) if form))


def _expanded(component: str, match: re.Match[str]) -> str:
    """The component with {1} replaced by the first group, and so on; a group that is not there is empty."""
    groups = ["", *(word or "" for word in match.groups())]
    return _GROUP.sub(lambda slot: groups[n] if (n := int(slot.group(1))) < len(groups) else "", component)
