"""The one family of errors. Each fault says where, what was found, what is allowed, what to do.

ForetwinError
├── SiteFileError       a site file cannot be used
├── IncidentFileError   an incident file cannot be used
├── ConfigError         a setting, option or mapping cannot be used
├── TelemetryError      a reading is late, out of range or unknown
├── StoreUnavailable    a telemetry store or the ledger does not answer
├── SourceUnavailable   a source of telemetry does not answer, or not with telemetry
├── SnapshotMismatch    a snapshot belongs to another site, version or backend
├── PlanRejected        a rule forbids the plan
└── ModelNotTrained     a prediction was asked of a model that does not exist yet
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where it stands, what was found there, what is allowed, what to do."""

    where: str
    found: str
    allowed: str = ""
    cure: str = ""

    def __str__(self) -> str:
        tail = "; ".join(" ".join(part.split()) for part in (self.found, self.allowed, self.cure) if part)
        return f"{self.where}: {tail}" if self.where else tail

    def as_dict(self) -> dict[str, str]:
        """The four parts by name, as `--json` prints them."""
        return {"where": self.where, "found": self.found, "allowed": self.allowed, "cure": self.cure}


class ForetwinError(Exception):
    """Base of all errors a user can cause or cure; one line per fault, no traceback at the front doors."""

    def __init__(
        self,
        where: str = "",
        found: str = "",
        allowed: str = "",
        cure: str = "",
        *,
        faults: tuple[Fault, ...] | list[Fault] = (),
    ) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults) or (Fault(where, found, allowed, cure),)
        first = self.faults[0]
        self.where, self.found, self.allowed, self.cure = first.where, first.found, first.allowed, first.cure
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)

    def __reduce__(self) -> tuple[object, ...]:
        # the default would rebuild the error from its message and lose the faults on the way through a worker process
        return _rebuild, (type(self), self.faults)

    def as_dict(self) -> dict[str, object]:
        """The first fault's four parts; all of them under `faults` when there are several."""
        answer: dict[str, object] = dict(self.faults[0].as_dict())
        if len(self.faults) > 1:
            answer["faults"] = [fault.as_dict() for fault in self.faults]
        return answer


def _rebuild(kind: type[ForetwinError], faults: tuple[Fault, ...]) -> ForetwinError:
    return kind(faults=faults)


class SiteFileError(ForetwinError):
    """A site file cannot be used."""


class IncidentFileError(ForetwinError):
    """An incident file cannot be used."""


class ConfigError(ForetwinError):
    """A setting, option or mapping cannot be used."""


class TelemetryError(ForetwinError):
    """A reading is late, out of range, or names an unknown component or channel."""


class StoreUnavailable(ForetwinError):
    """A telemetry store or the ledger does not answer."""


class SourceUnavailable(ForetwinError):
    """A source of telemetry does not answer, or answers with something else."""


class SnapshotMismatch(ForetwinError):
    """A snapshot belongs to another site, version or backend."""


class PlanRejected(ForetwinError):
    """A rule forbids the plan; `found` names the rule."""


class ModelNotTrained(ForetwinError):
    """A prediction was asked of a model that does not exist yet."""
