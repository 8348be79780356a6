"""Moving a running job: pre-copy, stop-and-copy, restart from a checkpoint. Pure laws over arrays, bytes conserved.

Pre-copy sends the whole state while the job works on, then what was dirtied meanwhile, and so on; once little is left
(or it does not get less) the job stops, the rest is sent, and it goes on at the other end. Stop-and-copy is the same
with no round before the stop. Closed form, state V, bandwidth B, dirty rate D, r = D / B < 1, n rounds before the stop:
total = V/B (1 - r^(n+1)) / (1 - r), downtime = V/B r^n + resume (textbook; notes/incidents.md C, notes/recovery.md).
With r >= 1 nothing is won by copying ahead. Restart from a checkpoint sends only what no replica holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

MODES = ("stop_and_copy", "pre_copy", "restart")
STOP_AND_COPY, PRE_COPY, RESTART = range(3)

MAX_ROUNDS = 30  # rounds before a hypervisor gives up copying ahead [assumed: Xen and QEMU stop near 30]
DOWNTIME_GOAL_S = 0.3  # stop once the rest is sent this fast [assumed: QEMU's default; Xen 2005 measured 60 ms]
RESUME_S = 1.0  # from the last byte until the job answers: CRIU restores in 1-3 s (notes/incidents.md C)
STALLED_FRAC = 0.95  # dirtied this share of what was sent meanwhile: copying ahead wins nothing [assumed]


class Copy(NamedTuple):
    """Copies under way, one value per copy (k,): GB left of this round, GB dirtied since it began, round, stopped."""

    left_gb: Array
    dirty_gb: Array
    round: Ints
    stopped: Flags


class Copied(NamedTuple):
    """What a step did to copies: where they stand, GB sent, seconds the job stood still, seconds left over, done."""

    now: Copy
    sent_gb: Array
    still_s: Array
    spare_s: Array
    done: Flags


def total_s(state_gb: ArrayLike, gb_per_s: ArrayLike, dirty_gb_per_s: ArrayLike, rounds: ArrayLike) -> Array:
    """Return the length of a pre-copy with `rounds` rounds before the stop, the last one included [s]."""
    v, b, n = np.asarray(state_gb, dtype=np.float64), np.asarray(gb_per_s), np.asarray(rounds)
    r = np.asarray(dirty_gb_per_s) / b
    even = np.isclose(r, 1.0, atol=1e-12)
    series = (1.0 - r ** (n + 1.0)) / np.where(even, 1.0, 1.0 - r)
    return np.asarray(v / b * np.where(even, n + 1.0, series))


def downtime_s(
    state_gb: ArrayLike,
    gb_per_s: ArrayLike,
    dirty_gb_per_s: ArrayLike,
    rounds: ArrayLike,
    resume_s: ArrayLike = RESUME_S,
) -> Array:
    """Return for how long the job stands still [s]: the last round and the resume."""
    v, b = np.asarray(state_gb, dtype=np.float64), np.asarray(gb_per_s)
    return np.asarray(v / b * (np.asarray(dirty_gb_per_s) / b) ** np.asarray(rounds) + np.asarray(resume_s))


def rounds_before_stop(state_gb: ArrayLike, gb_per_s: ArrayLike, dirty_gb_per_s: ArrayLike) -> Ints:
    """Return how many rounds `advance` sends before it stops the job, at a bandwidth that does not change.

    0 when the job dirties its state about as fast as the link carries it: then pre-copy falls back to stop-and-copy.
    """
    v, b = np.asarray(state_gb, dtype=np.float64), np.asarray(gb_per_s, dtype=np.float64)
    r = np.asarray(dirty_gb_per_s, dtype=np.float64) / b
    with np.errstate(divide="ignore", invalid="ignore"):
        n = np.ceil(np.log(DOWNTIME_GOAL_S * b / v) / np.log(r) - 1e-9)
    n = np.where(r <= 0.0, 1.0, np.clip(n, 1.0, MAX_ROUNDS))
    return np.asarray(np.where(converges(b, dirty_gb_per_s), n, 0.0), dtype=np.int64)


def converges(gb_per_s: ArrayLike, dirty_gb_per_s: ArrayLike) -> Flags:
    """Tell where copying ahead wins anything: the job dirties clearly less than the link carries."""
    return np.asarray(np.asarray(dirty_gb_per_s) < STALLED_FRAC * np.asarray(gb_per_s))


def to_send_gb(state_gb: ArrayLike, mode: ArrayLike, replicated_frac: ArrayLike) -> Array:
    """Return what a move sends at least [GB]: the whole state, or for a restart what no replica holds."""
    state = np.asarray(state_gb, dtype=np.float64)
    return np.asarray(np.where(np.asarray(mode) == RESTART, state * (1.0 - np.asarray(replicated_frac)), state))


def advance(copy: Copy, gb_per_s: ArrayLike, dirty_gb_per_s: ArrayLike, state_gb: ArrayLike, dt_s: float) -> Copied:
    """Send bytes for dt_s at each copy's share of the bandwidth; rounds end and begin within the step.

    What was dirtied in a round is the next round, at most the whole state. A stopped job dirties nothing; when its last
    byte is sent the copy is done and `spare_s` of the step is left. A link of bandwidth 0 sends nothing.
    """
    left, dirty = np.array(copy.left_gb, dtype=np.float64), np.array(copy.dirty_gb, dtype=np.float64)
    number, stopped = np.array(copy.round, dtype=np.int64), np.array(copy.stopped, dtype=bool)
    b = np.broadcast_to(np.asarray(gb_per_s, dtype=np.float64), left.shape)
    d = np.broadcast_to(np.asarray(dirty_gb_per_s, dtype=np.float64), left.shape)
    size = np.broadcast_to(np.asarray(state_gb, dtype=np.float64), left.shape)
    sent, still, spare = np.zeros(left.shape), np.zeros(left.shape), np.full(left.shape, float(dt_s))
    done = stopped & (left <= 0.0)
    for _ in range(MAX_ROUNDS + 2):
        takes = np.where(done, 0.0, np.where(b > 0.0, left / np.where(b > 0.0, b, 1.0), np.inf))
        t = np.minimum(spare, takes)
        ended = ~done & (takes <= spare)
        gone = np.where(ended, left, np.minimum(b * t, left))
        sent, left, spare = sent + gone, np.where(ended, 0.0, left - gone), spare - t
        still = still + np.where(stopped, t, 0.0)
        dirty = np.where(stopped | done, dirty, np.minimum(dirty + d * t, size))
        done = done | (ended & stopped)
        turn = ended & ~stopped
        if not turn.any():
            break
        stopped = stopped | (turn & _stop_now(dirty, d, b, number))
        left, dirty = np.where(turn, dirty, left), np.where(turn, 0.0, dirty)
        number = number + turn
    return Copied(Copy(left, dirty, number, stopped), sent, still, np.where(done, spare, 0.0), done)


def _stop_now(next_gb: Array, dirty_gb_per_s: Array, gb_per_s: Array, number: Ints) -> Flags:
    """Tell where the round that would follow is the last: short enough, not getting shorter, or one too many."""
    short = next_gb <= DOWNTIME_GOAL_S * gb_per_s * (1.0 + 1e-9)
    return np.asarray(short | ~converges(gb_per_s, dirty_gb_per_s) | (number + 1 >= MAX_ROUNDS))
