"""The service indicator over time: when it left its limit, since when it is back; nothing else remembers it."""

from __future__ import annotations

from dataclasses import dataclass, field

from twin.job_lives import SERVICE_LIMIT_FRAC


@dataclass
class ServiceRecord:
    """Delivered share of demanded service, one value per tick of the loop."""

    limit_frac: float = SERVICE_LIMIT_FRAC
    times_ms: list[int] = field(default_factory=list)
    frac: list[float] = field(default_factory=list)
    ok_since_ms: int | None = None

    def note(self, now_ms: int, frac: float) -> None:
        """Take the indicator of a tick."""
        self.times_ms.append(now_ms)
        self.frac.append(frac)
        if frac < self.limit_frac:
            self.ok_since_ms = None
        elif self.ok_since_ms is None:
            self.ok_since_ms = now_ms

    def first_loss_ms(self, after_ms: int) -> int | None:
        """Return the first tick at or after an instant at which the indicator was below its limit."""
        return next(
            (t for t, f in zip(self.times_ms, self.frac, strict=True) if t >= after_ms and f < self.limit_frac), None
        )

    def recovered_ms(self, after_ms: int, hold_s: float) -> int | None:
        """Return when the indicator came back after its first loss and stayed for hold_s; None when it did not.

        What it loses later is in the lost service minutes, not in the time to this recovery.
        """
        loss_ms = self.first_loss_ms(after_ms)
        since_ms = None
        for at_ms, frac in zip(self.times_ms, self.frac, strict=True):
            if loss_ms is None or at_ms < loss_ms:
                continue
            inside = frac >= self.limit_frac
            since_ms = (at_ms if since_ms is None else since_ms) if inside else None
            if since_ms is not None and at_ms - since_ms >= hold_s * 1000:
                return since_ms
        return None
