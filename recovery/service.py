"""The service indicator over time: when it left its limit, since when it is back; nothing else remembers it."""

from __future__ import annotations

from dataclasses import dataclass, field

from twin.crossings import SERVICE_LIMIT_FRAC


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
        """Return when the indicator came back for good after its first loss: held for hold_s and to the end seen."""
        last_bad = max(
            (t for t, f in zip(self.times_ms, self.frac, strict=True) if t >= after_ms and f < self.limit_frac),
            default=None,
        )
        if last_bad is None or not self.times_ms or self.times_ms[-1] - last_bad < hold_s * 1000:
            return None
        return next(t for t in self.times_ms if t > last_bad)
