"""Sources asked side by side: back-off, ages that are true, bounded queues, and none that holds up another."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant.errors import SourceUnavailable
from twin.telemetry import feeder as module
from twin.telemetry.backoff import FIRST_S, LONGEST_S, delay_s
from twin.telemetry.feeder import Feeder
from twin.telemetry.samples import BadRow, Read, Samples, Series, no_samples
from twin.telemetry.standing import AHEAD_MS, LEAST_SILENT_S, Standing

NOW_MS = 1_800_000_000_000
NAMES = st.text(min_size=1, max_size=20)


# Back-off


@given(NAMES, st.integers(1, 10_000), st.integers(0, 5))
def test_the_wait_is_bounded_and_repeats(name, failures, seed):
    wait_s = delay_s(name, failures, seed)
    envelope_s = min(LONGEST_S, FIRST_S * 2.0 ** (failures - 1)) if failures < 60 else LONGEST_S
    assert 0.5 * envelope_s <= wait_s <= envelope_s
    assert wait_s == delay_s(name, failures, seed)


@given(NAMES)
def test_the_wait_never_halves_and_reaches_the_bound(name):
    waits = [delay_s(name, n) for n in range(1, 12)]
    assert all(later >= before / 2 for before, later in pairwise(waits))
    assert min(waits[7:]) >= LONGEST_S / 2
    assert waits[0] <= FIRST_S


def test_sources_that_died_together_spread():
    waits = [delay_s(f"source {n}", 10) for n in range(200)]
    counts, _ = np.histogram(waits, bins=10, range=(LONGEST_S / 2, LONGEST_S))
    assert counts.min() >= 5


# Standing


def test_the_age_is_that_of_the_newest_sample():
    s = Standing("x", "lines", 15.0)
    assert (s.state(NOW_MS), s.age_s(NOW_MS)) == ("starting", None)
    s.asked(NOW_MS)
    s.answered(NOW_MS, NOW_MS - 5_000, 0, ())
    s.answered(NOW_MS, NOW_MS - 9_000, 0, ())  # late ones do not make it older
    assert (s.state(NOW_MS), s.age_s(NOW_MS)) == ("ok", 5.0)
    s.answered(NOW_MS + 60_000, None, 0, ())
    assert s.age_s(NOW_MS + 60_000) == 65.0
    assert s.state(NOW_MS + round(LEAST_SILENT_S * 1000)) == "silent"
    s.failed("gone", NOW_MS + 70_000)
    assert s.state(NOW_MS + 70_000) == "failing"
    assert s.row(NOW_MS + 70_000)["last_error"] == "gone"
    s.answered(NOW_MS + 80_000, NOW_MS + 80_000, 0, ())
    assert (s.state(NOW_MS + 80_000), s.failures) == ("ok", 0)


def test_a_clock_that_is_ahead_and_a_hanging_source_are_noticed():
    s = Standing("x", "influx", 15.0)
    s.answered(NOW_MS, None, AHEAD_MS + 1, ())
    assert s.state(NOW_MS) == "clock ahead"
    assert s.row(NOW_MS)["ahead_s"] == 60.001
    s.asked(NOW_MS)
    assert s.state(NOW_MS + 30_000) != "hanging"
    assert s.state(NOW_MS + 30_001) == "hanging"


def test_one_that_has_more_to_tell_is_catching_up():
    s = Standing("x", "influx", 15.0)
    s.answered(NOW_MS, NOW_MS - 3_600_000, 0, (), more=True)
    assert s.state(NOW_MS) == "catching up"
    s.answered(NOW_MS, NOW_MS, 0, ())
    assert s.state(NOW_MS) == "ok"


def test_bad_rows_are_counted_and_the_first_is_named():
    s = Standing("x", "lines", 15.0)
    s.answered(NOW_MS, NOW_MS, 0, [BadRow("line 3", "has no field", "m"), BadRow("line 4", "has no field", "m")])
    assert s.row(NOW_MS)["last_error"] == "line 3: has no field in `m`, and 1 more"
    assert s.row(NOW_MS)["unreadable"] == 2


# Feeder


def samples(n, at_ms=NOW_MS):
    value = np.arange(n, dtype=float)
    return Samples((Series.of("m", "f"),), np.zeros(n, np.int64), np.full(n, at_ms, np.int64), value, {})


class Scripted:
    """A source that does what a list of callables says, then says nothing more."""

    kind = "scripted"

    def __init__(self, name, *steps):
        self.name, self.steps, self.polls, self.closed, self.resumed = name, list(steps), 0, 0, None
        self.asked_s = []

    def poll(self, now_ms):
        self.polls += 1
        self.asked_s.append(time.monotonic())
        return self.steps.pop(0)() if self.steps else Read(no_samples())

    def mark(self):
        return {"polls": self.polls}

    def resume(self, mark):
        self.resumed = mark

    def close(self):
        self.closed += 1


def until(done, wait_s=5.0):
    ends = time.monotonic() + wait_s
    while not done():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.005)


def drained(feeder, n):
    """Samples taken until n have come."""
    found = []

    def take():
        taken = feeder.next()
        if taken is not None:
            found.extend((taken.source, value) for value in taken.read.samples.value.tolist())
            feeder.done(taken, len(taken.read.samples), 0, 0)
        return len(found) >= n

    until(take)
    return found


def test_a_source_that_hangs_or_breaks_holds_up_no_other():
    gate = threading.Event()
    hangs = Scripted("hangs", lambda: Read(no_samples(), more=not gate.wait()))
    breaks = Scripted("breaks", *[lambda: 1 / 0] * 1000)
    good = Scripted("good", *[lambda: Read(samples(1))] * 1000)
    feeder = Feeder([(hangs, 0.01), (breaks, 0.01), (good, 0.01)], lambda: NOW_MS).start()
    try:
        assert len(drained(feeder, 20)) >= 20
        rows = {row["name"]: row for row in feeder.standings()}
        assert rows["good"]["state"] == "ok"
        assert rows["good"]["readings"] >= 20
        assert rows["breaks"]["state"] == "failing"
        assert rows["breaks"]["last_error"] == "unexpected: ZeroDivisionError: division by zero"
        assert rows["hangs"]["state"] == "starting"
        assert breaks.polls <= 3  # the back-off
        begun = time.monotonic()
        feeder.close(wait_s=0.2)
        assert time.monotonic() - begun < 1.0
        assert good.closed == 1
    finally:
        gate.set()


def test_a_hanging_source_is_said_to_hang():
    now, gate = [NOW_MS], threading.Event()
    feeder = Feeder([(Scripted("x", lambda: Read(no_samples(), more=not gate.wait())), 1.0)], lambda: now[0]).start()
    until(lambda: feeder._feeds["x"].standing.asked_ms is not None)
    now[0] += 31_000
    assert feeder.standings()[0]["state"] == "hanging"
    gate.set()
    feeder.close()


def test_failures_wait_and_success_ends_the_waiting(monkeypatch):
    monkeypatch.setattr(module, "delay_s", lambda name, failures, seed: 0.01 * failures)

    def fail():
        raise SourceUnavailable("x", "is down", cure="start it")

    source = Scripted("x", fail, fail, fail, lambda: Read(samples(3)))
    feeder = Feeder([(source, 0.05)], lambda: NOW_MS).start()
    assert len(drained(feeder, 3)) == 3
    until(lambda: source.polls >= 6)
    feeder.close()
    gaps = np.diff(source.asked_s)
    assert np.all(gaps[:3] >= [0.01, 0.02, 0.03])
    assert gaps[3] >= 0.045
    assert feeder.standings()[0]["last_error"] == "x: is down; start it"
    assert feeder.standings()[0]["failures"] == 0


def test_more_is_asked_for_at_once_and_order_is_kept():
    source = Scripted("x", *[lambda n=n: Read(samples(1 + n), more=n < 9) for n in range(10)])
    feeder = Feeder([(source, 60.0)], lambda: NOW_MS).start()
    found = [value for _, value in drained(feeder, 55)]
    assert found == [float(v) for n in range(10) for v in range(1 + n)]
    feeder.close()


def test_a_full_queue_stops_the_asking_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 100)
    monkeypatch.setattr(module, "FULL_WAIT_S", 0.001)
    source = Scripted("x", *[lambda: Read(samples(40))] * 50)
    feeder = Feeder([(source, 0.0)], lambda: NOW_MS).start()
    until(lambda: source.polls == 3)
    time.sleep(0.05)
    assert source.polls == 3
    assert feeder.standings()[0]["waiting"] == 120
    assert len(drained(feeder, 2000)) == 2000
    feeder.close()


def test_what_is_not_done_is_given_again_and_marks_follow_what_is_done():
    source = Scripted("x", lambda: Read(samples(1)), lambda: Read(samples(2)))
    feeder = Feeder([(source, 0.0)], lambda: NOW_MS, {"x": {"polls": 7}}).start()
    assert source.resumed == {"polls": 7}
    until(lambda: source.polls >= 3)
    assert feeder.next() is feeder.next()
    assert feeder.marks == {"x": {"polls": 7}}
    feeder.done(feeder.next(), 1, 0, 0)
    assert feeder.marks == {"x": {"polls": 1}}
    feeder.done(feeder.next(), 2, 0, 0)
    assert feeder.marks == {"x": {"polls": 2}}
    assert feeder.next() is None
    feeder.close()


def test_a_flood_of_one_does_not_starve_the_others():
    flood = Scripted("flood", *[lambda: Read(samples(10))] * 1000)
    calm = Scripted("calm", lambda: Read(samples(1)), lambda: Read(samples(1)))
    feeder = Feeder([(flood, 0.0), (calm, 0.0)], lambda: NOW_MS).start()
    until(lambda: calm.polls >= 2 and flood.polls >= 50)
    first = []
    for _ in range(4):
        taken = feeder.next()
        first.append(taken.source)
        feeder.done(taken, 0, 0, 0)
    assert sorted(first) == ["calm", "calm", "flood", "flood"]
    feeder.close()


@pytest.mark.parametrize("started", [True, False])
def test_closing_twice_is_fine(started):
    source = Scripted("x")
    feeder = Feeder([(source, 0.01)], lambda: NOW_MS)
    if started:
        feeder.start()
    feeder.close()
    feeder.close()
    assert source.closed >= 1


def test_samples_ahead_of_the_clock_do_not_make_the_source_young():
    feeder = Feeder([(Scripted("x", lambda: Read(samples(1, NOW_MS + 3_600_000))), 60.0)], lambda: NOW_MS).start()
    until(lambda: feeder.standings()[0]["state"] == "clock ahead")
    row = feeder.standings()[0]
    assert (row["age_s"], row["ahead_s"]) == (None, 3600.0)
    feeder.close()
