"""Work that comes and goes during a rehearsal: as much as is there, like what is there, the same for every plan."""

from __future__ import annotations

import numpy as np
import pytest
from twin_stories import MINUTE_MS, T0_MS, some_jobs, tiny

from recovery import rehearse as R
from recovery.propose import Context, propose
from twin import jobs as J
from twin.coming import MEAN_OVER_MEDIAN, knows_arrivals, with_coming
from twin.emulated_jobs import RUN_MEDIAN_S
from twin.engine import run
from twin.ensemble import make_state
from twin.jobs import make_jobs
from twin.state import State

SITE = tiny()
HOUR_MS = 60 * MINUTE_MS
KINDS = ["big_data", "training", "web", "scientific"]


def followed(count: int = 16, members: int = 2) -> State:
    """A twin that follows a scheduler: every job is there, none is known to end."""
    jobs = make_jobs(
        [f"j{i}" for i in range(count)],
        kinds=[KINDS[i % 4] for i in range(count)],
        arrival_ms=np.full(count, T0_MS),
        work_s=np.full(count, J.ENDLESS_WORK_S),
        width=1 + np.arange(count) % 2,
        share_frac=np.full(count, 0.5),
        home=np.arange(count) // 4 % 2,
    )
    s = make_state(SITE, T0_MS, jobs=jobs, members=members)
    s.node_stop_c[...], s.node_fails_at[...] = 500.0, 1e9
    return run(s, SITE, T0_MS + 5 * MINUTE_MS)


def test_batch_jobs_end_and_others_like_them_arrive_while_services_go_on():
    s = with_coming(followed(), SITE, 12 * 3600.0, seed=3)
    s.check(SITE)
    assert len(s.jobs) > 16
    new = s.jobs.kinds[16:]
    assert set(new) <= {"big_data", "training", "scientific"}
    assert (s.jobs.work_s[[i for i in range(16) if KINDS[i % 4] == "web"]] >= J.ENDLESS_WORK_S).all()
    ends = s.jobs.work_s[[i for i in range(16) if KINDS[i % 4] != "web"]]
    assert (ends < 100 * 3600.0).all()
    assert set(s.jobs.width[16:].tolist()) <= {1, 2}
    run(s, SITE, s.now_ms + 12 * HOUR_MS)
    done = s.job_phase[0] == J.DONE
    assert done[:16].any()
    assert (s.job_phase[0, 16:] != J.NOT_ARRIVED).all()
    assert (s.job_start_ms[0, 16:] >= 0).any()


def test_a_class_keeps_its_size_in_the_long_run():
    """Little's law: arrivals times mean run time are as many jobs as were there."""
    hours = 400.0
    s = with_coming(followed(32), SITE, hours * 3600.0, seed=1)
    for kind in ("big_data", "scientific"):
        came = sum(k == kind for k in s.jobs.kinds[32:])
        expected = 8 * hours * 3600.0 / (RUN_MEDIAN_S[kind] * MEAN_OVER_MEDIAN)
        assert came == pytest.approx(expected, rel=4.0 / np.sqrt(expected))


def test_the_state_that_was_asked_about_stays_and_the_seed_decides():
    s = followed()
    before = s.digest()
    one, same, other = (with_coming(s, SITE, 7200.0, seed=k).jobs.digest() for k in (1, 1, 2))
    assert s.digest() == before
    assert one == same != other


def test_a_table_that_knows_its_arrivals_is_left_alone():
    s = run(make_state(SITE, T0_MS, jobs=some_jobs()), SITE, T0_MS + MINUTE_MS)
    assert knows_arrivals(s)
    assert with_coming(s, SITE, 7200.0, 0) is s
    empty = make_state(SITE, T0_MS)
    assert with_coming(empty, SITE, 7200.0, 0) is empty


def test_every_plan_and_any_workers_meet_the_same_arrivals():
    s = followed()
    cause = SITE.loop_ids[0]
    plans = propose(SITE, Context(cause, (), s.digest(), "test", s.now_ms))[:2]
    question = R.Question(s, SITE, cause, {86_400: 0.0}, 5, horizon_s=7200.0, coming=True)
    one, two = R.rehearse(question, plans, 2), R.rehearse(question, plans, 2, workers=2, backend="threading")
    for a, b in zip(one, two, strict=True):
        for name in a.costs:
            assert np.array_equal(a.costs[name], b.costs[name]), name
    still = R.rehearse(R.Question(s, SITE, cause, {86_400: 0.0}, 5, horizon_s=7200.0), plans[:1], 2)
    assert (one[0].costs["energy_kwh"] != still[0].costs["energy_kwh"]).all()
