"""Jobs that start once more: a scheduler shows them running, the twin lets them load their checkpoint first."""

from __future__ import annotations

import numpy as np
import pytest
from emulated_world import SITE, Beside, quickly
from twin_stories import MINUTE_MS, T0_MS

from plant.migration import MODES, PRE_COPY
from plant.workload import JOB_CLASSES
from scheduler.port import JobView
from twin import jobs as J
from twin.ensemble import make_state
from twin.nodephase import FAILED
from twin.placement import interrupt
from twin.sync.follow import adopt_jobs, strayed
from twin.sync.restarts import Again, Starts

EAST = tuple(SITE.node_ids[:2])
WEST = tuple(SITE.node_ids[-2:])
RESTART_S = 300.0


def view(phase: str = "running", started_ms: int | None = T0_MS, nodes: tuple[str, ...] = EAST, **more) -> JobView:
    told = {"job_class": "training", "hall": SITE.hall_ids[0], "width": 2, "share_frac": 1.0, "restart_s": RESTART_S}
    return JobView(
        "a", nodes=nodes if phase != "queued" else (), phase=phase, started_ms=started_ms, **{**told, **more}
    )


def test_the_first_start_that_is_seen_is_none():
    starts = Starts()
    for minute, one in enumerate((view("queued", -1), view(), view("draining"), view(started_ms=None), view())):
        assert starts.look([one], T0_MS + minute * MINUTE_MS) == {}


def test_a_newer_start_counts_from_its_own_time_however_often_it_is_looked_at():
    starts, newer_ms = Starts(), T0_MS + 10 * MINUTE_MS
    starts.look([view()], T0_MS)
    starts.look([view("queued", T0_MS)], T0_MS + MINUTE_MS)
    for minute in (11, 12, 30):
        assert starts.look([view(started_ms=newer_ms)], T0_MS + minute * MINUTE_MS) == {"a": Again(newer_ms, False)}
    assert starts.look([], T0_MS + 40 * MINUTE_MS) == {}
    assert starts.look([view(started_ms=newer_ms)], T0_MS + 41 * MINUTE_MS) == {}, "gone and forgotten"


def test_other_nodes_without_a_newer_start_are_a_move():
    starts, arrived_ms = Starts(), T0_MS + 3 * MINUTE_MS
    starts.look([view()], T0_MS)
    assert starts.look([view("moving", nodes=WEST)], T0_MS + MINUTE_MS) == {}
    assert starts.look([view(nodes=WEST)], arrived_ms) == {"a": Again(arrived_ms, True)}
    assert starts.look([view(nodes=WEST)], arrived_ms + MINUTE_MS) == {"a": Again(arrived_ms, True)}
    stayed = Starts()
    stayed.look([view()], T0_MS)
    stayed.look([view("moving")], T0_MS + MINUTE_MS)
    assert stayed.look([view()], T0_MS + 2 * MINUTE_MS) == {}, "it found no room and went on where it was"


@pytest.mark.parametrize(
    ("again", "phase"),
    [
        ({}, J.RUNNING),
        ({"a": Again(T0_MS, False)}, J.RESTARTING),
        ({"a": Again(T0_MS - int(RESTART_S * 1000), False)}, J.RUNNING),  # it is over
        ({"a": Again(T0_MS, True)}, J.RESTARTING),
    ],
)
def test_a_job_that_starts_once_more_works_when_its_restart_time_is_over(again, phase):
    state = adopt_jobs(make_state(SITE, T0_MS, members=2), SITE, [view()], again)
    assert (state.job_phase[:, 0] == phase).all()
    assert not strayed(state, [view()]), "to a scheduler it runs"
    if phase == J.RESTARTING:
        assert (state.job_until_ms[:, 0] == T0_MS + int(RESTART_S * 1000)).all()


def test_a_job_whose_memory_was_copied_ahead_goes_on_at_once():
    kind = next(one.name for one in JOB_CLASSES if MODES.index(one.move_mode) == PRE_COPY)
    seen = [view(job_class=kind)]
    for moved, phase in ((True, J.RUNNING), (False, J.RESTARTING)):
        state = adopt_jobs(make_state(SITE, T0_MS, members=2), SITE, seen, {"a": Again(T0_MS, moved)})
        assert (state.job_phase[:, 0] == phase).all()


def test_jobs_that_lost_a_node_are_followed_through_their_restart():
    emulator, store = quickly()
    beside, s = Beside(emulator, store, members=4), emulator.engine.state
    for _ in range(4):
        beside.tick()
    lost = np.zeros(s.node_phase.shape, dtype=bool)
    lost[0, ::5] = True
    s.node_phase[lost] = FAILED
    interrupt(emulator.engine.derived, lost)
    emulator.engine.derived.mark()
    s.dispatch_due[...] = True
    seen = off = 0
    for _ in range(16):
        beside.tick()
        loading = {n for n, p in zip(s.jobs.ids, s.job_phase[0], strict=True) if p == J.RESTARTING}
        mine = beside.twin.state
        theirs = {n for n, p in zip(mine.jobs.ids, mine.job_phase[0], strict=True) if p == J.RESTARTING}
        seen, off = seen + len(loading), off + len(loading ^ theirs)
    assert seen > 16
    assert off <= 0.1 * seen
