"""Slurm's answers in the shapes of several versions, made into jobs and nodes; what cannot be understood is said."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plant.errors import ConfigError, SourceUnavailable
from plant.site import load_site
from plant.workload import job_class
from recovery.livetwin import LiveTwin
from scheduler.port import SchedulerPort, Watched
from scheduler.slurm import SlurmScheduler
from scheduler.slurm_classes import ClassRule, class_of
from scheduler.slurm_commands import Commands
from scheduler.slurm_jobs import jobs_of, phase_of
from scheduler.slurm_nodes import nodes_of
from scheduler.slurm_profile import Use, added_up, newest
from twin.nodephase import FAILED, ON, STOPPED
from twin.sync.activity import shared_out
from twin.telemetry.store import Batch

T0_MS = 1_711_536_000_000
SITE = load_site("tiny")
HALL = "lab/a"


def number(value: int, *, there: bool = True, infinite: bool = False) -> dict[str, Any]:
    return {"set": there, "infinite": infinite, "number": value}


def old(**more: Any) -> dict[str, Any]:
    """A job as 22.05 tells it (recorded, shortened)."""
    row = {
        "job_id": 6, "array_job_id": 0, "array_task_id": None, "array_task_string": "", "het_job_id": 0,
        "job_state": "RUNNING", "state_reason": "None", "name": "wrap", "partition": "batch", "user_name": "root",
        "nodes": "n[01-02]", "node_count": 2, "cpus": 64, "priority": 4294901757, "submit_time": 1711535000,
        "start_time": 1711535100, "time_limit": 60, "tres_alloc_str": "cpu=64,mem=9000M,node=2,billing=64",
        "tres_req_str": "cpu=64,mem=9000M,node=2,billing=64", "gres_detail": [], "comment": "",
        "job_resources": {"nodes": "n[01-02]", "allocated_cores": 64},
    }  # fmt: skip
    return row | more


def newer(**more: Any) -> dict[str, Any]:
    """The same job in the numbers and lists of 23.11."""
    return old(
        job_state=["RUNNING"], array_job_id=number(0), array_task_id=number(0, there=False), het_job_id=number(0),
        node_count=number(2), cpus=number(64), priority=number(100), submit_time=number(1711535000),
        start_time=number(1711535100), time_limit=number(60),
    ) | more  # fmt: skip


def newest_shape(**more: Any) -> dict[str, Any]:
    """The same job in the allocations of 24.11."""
    inside = {"count": 2, "list": "n[01-02]", "allocation": [{"name": "n01", "cpus": {"count": 32}}]}
    return newer(nodes="", job_resources={"select_type": ["CORE"], "nodes": inside}) | more


SHAPES = {"22.05": old, "23.11": newer, "24.11": newest_shape}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def machines(**state: Any) -> dict[str, Any]:
    """The sixteen nodes of the hall as scontrol 24.11 tells them; states by name."""
    rows = [
        {"name": f"n{i:02d}", "cpus": 64 if i <= 8 else 96, "gres": "" if i <= 8 else "gpu:a100:8(S:0-1)",
         "state": state.get(f"n{i:02d}", ["IDLE"]), "reason": "hot  aisle,\nrow 3"}
        for i in range(1, 17)
    ]  # fmt: skip
    return {"nodes": rows, "errors": []}


class Recorded:
    """Answers as commands gave them; an exception in their place is raised."""

    def __init__(self, *jobs: dict[str, Any], **state: Any) -> None:
        self.told: Any = {"jobs": list(jobs)}
        self.there: Any = machines(**state)

    def jobs(self) -> Any:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told

    def nodes(self) -> Any:
        return self.there


class Clock:
    ms = T0_MS

    def __call__(self) -> int:
        return self.ms


def scheduler(*jobs: dict[str, Any], **more: Any) -> SlurmScheduler:
    state = more.pop("state", {})
    return SlurmScheduler(Clock(), SITE, commands=Recorded(*jobs, **state), halls=[HALL], **more)  # type: ignore[arg-type]


# --- jobs ---------------------------------------------------------------------------------------


@each_shape
def test_a_job_is_the_same_in_every_version(shape: Any) -> None:
    (job,) = jobs_of({"jobs": [shape()]})
    assert (job.id, job.number, job.phase, job.width, job.cpus, job.gpus) == ("6", 6, "running", 2, 64, 0.0)
    assert job.nodes == ("n01", "n02")
    assert (job.submit_s, job.start_s, job.limit_s) == (1711535000, 1711535100, 3600)


@each_shape
def test_a_job_becomes_a_view_with_share_class_and_time_left(shape: Any) -> None:
    port = scheduler(shape())
    (view,) = port.observe()
    assert view.nodes == (f"{HALL}/r01/n01", f"{HALL}/r01/n02")
    assert (view.hall, view.job_class, view.phase, view.width) == (HALL, "scientific", "running", 2)
    assert view.share_frac == 0.5
    run_s = T0_MS / 1000 - 1711535100
    assert view.left_s == 3600 - run_s
    assert view.unsaved_s == run_s % job_class("scientific").checkpoint_interval_s
    assert view.priority == job_class("scientific").weight, "Slurm's own priority is an order, no weight of service"


@each_shape
@pytest.mark.parametrize(
    ("state", "reason", "phase"),
    [
        ("PENDING", "Resources", "queued"),
        ("PENDING", "Priority", "queued"),
        ("PENDING", "None", "queued"),
        ("PENDING", "JobHeldUser", "held"),
        ("PENDING", "BeginTime", "held"),
        ("PENDING", "Dependency", "held"),
        ("PENDING", "Licenses", "held"),
        ("PENDING", "PartitionDown", "held"),
        ("PENDING", "(ReqNodeNotAvail, UnavailableNodes:n[1-9])", "held"),
        ("SUSPENDED", "None", "held"),
        ("CONFIGURING", "None", "running"),
        ("COMPLETING", "None", None),
        ("COMPLETED", "None", None),
        ("NODE_FAIL", "NodeDown", None),
        ("REVOKED", "", None),
        ("A_NEW_STATE", "", None),
    ],
)
def test_states_and_reasons_become_phases(shape: Any, state: str, reason: str, phase: str | None) -> None:
    told: Any = state if shape is old else [state]
    assert phase_of(shape(job_state=told, state_reason=reason)) == phase


def test_flags_of_newer_versions_go_with_their_state() -> None:
    assert phase_of(newer(job_state=["RUNNING", "COMPLETING"])) is None
    assert phase_of(newer(job_state=["PENDING", "REQUEUED"], state_reason="BeginTime")) == "held"
    assert phase_of(newer(job_state=["PENDING", "REQUEUE_HOLD"])) == "held"
    assert phase_of(newer(job_state=["PENDING"], priority=number(0))) == "held"


def test_arrays_and_heterogeneous_jobs_have_the_names_that_people_use() -> None:
    rows = [
        old(array_job_id=3, array_task_id=0), newer(array_job_id=number(4), array_task_id=number(7)),
        newer(het_job_id=number(9), het_job_offset=number(2)),
        old(job_state="PENDING", nodes="", array_job_id=5, array_task_string="4-10:3,12%2"),
        newer(job_state=["PENDING"], nodes="", array_job_id=number(8), array_task_string="0-99999"),
    ]  # fmt: skip
    names = [job.id for job in jobs_of({"jobs": rows})]
    assert names[:7] == ["3_0", "4_7", "9+2", "5_4", "5_7", "5_10", "5_12"]
    assert names[7:] == [f"8_{task}" for task in range(64)]


def test_accelerators_come_from_allocation_detail_or_request() -> None:
    rows = [
        newer(tres_alloc_str="cpu=8,node=1,gres/gpu=4,gres/gpu:a100=4"),
        newer(tres_alloc_str="cpu=8,node=1,gres/gpu:a100=2,gres/gpu:l4=1"),
        newer(gres_detail=["gpu:8(IDX:0-7)", "gpu:a100:8(IDX:0-7)"]),
        newer(job_state=["PENDING"], tres_alloc_str="", tres_per_node="gres/gpu:a100:2"),
        newer(job_state=["PENDING"], tres_alloc_str="", tres_per_node="gres:gpu:2"),
    ]
    assert [job.gpus for job in jobs_of({"jobs": rows})] == [4.0, 3.0, 16.0, 4.0, 4.0]
    (view,) = scheduler(newer(nodes="n09", node_count=number(1), cpus=number(8), tres_alloc_str="gres/gpu=4")).observe()
    assert (view.gpus, view.share_frac, view.job_class) == (4.0, 0.5, "training")


@pytest.mark.parametrize("more", [{"shared": "none"}, {"shared": ["none"]}, {"exclusive": ["true"]}])
def test_an_exclusive_job_has_its_nodes_alone_also_while_it_waits(more: dict[str, Any]) -> None:
    waits = newer(job_state=["PENDING"], state_reason="Resources", nodes="", cpus=number(2), job_resources=None)
    assert scheduler(waits).observe()[0].share_frac == pytest.approx(2 / (2 * 96))
    assert scheduler(waits | more).observe()[0].share_frac == 1.0


def test_an_unlimited_job_goes_on_and_one_over_its_limit_soon_ends() -> None:
    endless, late = scheduler(
        newer(time_limit=number(0, there=False, infinite=True)), newer(job_id=7, time_limit=number(1))
    ).observe()
    assert endless.left_s is None
    assert late.left_s == 15.0


def test_rules_tell_classes() -> None:
    own = [ClassRule.parse("partition:^gpu$=inference"), ClassRule.parse("user:^ada$=web")]
    assert class_of({"partition": "gpu"}, 0, own) == "inference"
    assert class_of({"partition": "x", "user": "ada"}, 8, own) == "web"
    assert class_of({"name": "Pretrain-7b"}, 0) == "training"
    assert class_of({"name": "vllm-serve"}, 8) == "inference"
    assert class_of({"comment": "nightly ETL"}, 0) == "big_data"
    assert class_of({}, 0) == "scientific"
    for bad in ("partition=web", "colour:x=web", "name:x=wbe", "name:(=web"):
        with pytest.raises(ConfigError) as caught:
            ClassRule.parse(bad)
        assert len(str(caught.value).splitlines()) == 1


def test_jobs_on_nodes_of_another_site_hold_none_of_ours() -> None:
    port = scheduler(newer(nodes="n[01-02],gpu[1-3]", node_count=number(5)), newer(job_id=7, nodes="gpu9"))
    here, away = port.observe()
    assert (here.width, len(here.nodes)) == (2, 2)
    assert (away.phase, away.nodes, away.hall) == ("held", (), "")


# --- nodes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "up", "free", "kept_off"),
    [
        (["IDLE"], True, True, ""),
        (["MIXED"], True, False, ""),
        (["IDLE", "PLANNED"], True, False, ""),
        (["IDLE", "CLOUD"], True, True, ""),
        (["DOWN"], False, False, ""),
        (["DOWN", "NOT_RESPONDING"], False, False, ""),
        ("down*", False, False, ""),
        (["IDLE", "NOT_RESPONDING"], True, False, "slurm not_responding: hot aisle, row 3"),
        (["IDLE", "DRAIN"], True, False, "slurm drain: hot aisle, row 3"),
        ("allocated+drain", True, False, "slurm drain: hot aisle, row 3"),
        (["MIXED", "MAINTENANCE", "RESERVED"], True, False, "slurm maintenance reserved: hot aisle, row 3"),
        (["IDLE", "POWERED_DOWN"], False, False, ""),
        ("idle~", False, False, ""),
        (["IDLE", "FAIL"], True, False, "slurm fail: hot aisle, row 3"),
        (["IDLE", "A_NEW_FLAG"], True, False, "slurm unknown state a_new_flag: hot aisle, row 3"),
    ],
)
def test_states_of_nodes(state: Any, up: bool, free: bool, kept_off: str) -> None:
    view = next(n for n in scheduler(state={"n03": state}).nodes() if n.id.endswith("/n03"))
    assert (view.up, view.free, view.cordoned_by) == (up, free, (kept_off,) if kept_off else ())


def test_flags_apart_from_the_state_as_in_22_05_and_nodes_to_come() -> None:
    rows = [
        {"name": "n7", "state": "idle", "state_flags": ["DRAIN"], "reason": "fan", "cpus": 4, "gres": ""},
        {"name": "n8", "state": "future", "state_flags": []},
        {"name": "n9", "state": "mixed", "state_flags": [], "cpus": 8, "effective_cpus": 6, "gres": "gpu:2"},
    ]
    drained, mixed = nodes_of({"nodes": rows})
    assert (drained.kept_off, drained.cpus) == ("drain: fan", 4)
    assert (mixed.name, mixed.cpus, mixed.gpus) == ("n9", 6, 2)


def test_names_that_two_halls_share_ask_for_the_hall() -> None:
    with pytest.raises(ConfigError, match=r"stands in several halls.*halls = "):
        SlurmScheduler(Clock(), SITE, commands=Recorded())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="lab/a"):
        SlurmScheduler(Clock(), SITE, commands=Recorded(), halls=["lab/aa"])  # type: ignore[arg-type]


def test_a_domain_behind_the_name_does_no_harm_and_strangers_are_told() -> None:
    port = scheduler()
    port._commands.there["nodes"] += [{"name": "login1", "state": ["IDLE"]}, {"name": "n01.example.org"}]  # type: ignore[attr-defined]
    port._ask(T0_MS)
    assert port.outside == ("login1",)


# --- the port -----------------------------------------------------------------------------------


def test_every_call_that_would_change_something_is_refused_and_leaves_no_trace() -> None:
    port: SchedulerPort = scheduler(old())
    assert isinstance(port, Watched)
    assert port.fence(3)
    assert not port.fence(2)
    calls = [
        port.cordon("k:0", 3, ["n01"], "hot"), port.uncordon("k:1", 3, ["n01"]), port.cap("k:2", 3, ["n01"], 0.5),
        port.uncap("k:3", 3, ["n01"]), port.move("k:4", 3, ["6"], HALL, 1), port.drain("k:5", 3, ["6"]),
        port.requeue("k:6", 3, ["6"]), port.hold_job("k:7", 3, ["6"]),
    ]  # fmt: skip
    assert {receipt.status for receipt in calls} == {"rejected"}
    assert {"only read" in receipt.detail for receipt in calls} == {True}
    assert port.cap("k:8", 2, ["n01"], 0.5).code == "fenced"
    assert port.query("k:0") is None


def test_slurm_is_asked_no_more_often_than_agreed_and_an_outage_leaves_what_it_said() -> None:
    port = scheduler(old())
    clock, commands = port._now_ms, port._commands
    first = port.version()
    commands.told = {"jobs": [old(job_state="COMPLETED")]}  # type: ignore[attr-defined]
    clock.ms += 14_999  # type: ignore[attr-defined]
    assert len(port.observe()) == 1
    clock.ms += 1  # type: ignore[attr-defined]
    assert port.observe() == []
    assert port.version() != first
    commands.told = SourceUnavailable("squeue --json", "Unable to contact slurm controller")  # type: ignore[attr-defined]
    clock.ms += 60_000  # type: ignore[attr-defined]
    assert port.observe() == []
    assert "no answer for 60 s" in port.trouble
    commands.told = {"jobs": [old()]}  # type: ignore[attr-defined]
    clock.ms += 59_999  # type: ignore[attr-defined]
    assert port.observe() == [], "a silent controller is not asked at every tick"
    clock.ms += 1  # type: ignore[attr-defined]
    assert len(port.observe()) == 1
    assert port.trouble == ""


@pytest.mark.parametrize("told", [{}, {"jobs": None}, {"jobs": "none"}, []])
def test_an_answer_that_is_none_is_a_source_that_does_not_answer(told: Any) -> None:
    port = scheduler(old())
    port._commands.told = told  # type: ignore[attr-defined]
    with pytest.raises(SourceUnavailable, match="nobody understands"):
        port._ask(T0_MS)
    assert len(port.jobs) == 1


odd_values = (
    st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats() | st.text(max_size=8)
    | st.lists(st.text(max_size=4), max_size=2)
    | st.dictionaries(st.sampled_from(["set", "number", "nodes"]), st.none() | st.integers(0, 9), max_size=3)
)  # fmt: skip


@settings(max_examples=examples(60))
@given(st.dictionaries(st.sampled_from([*old(), "job_resources", "het_job_offset", "tres_per_node"]), odd_values))
def test_no_answer_of_slurm_breaks_the_reading(odd: dict[str, Any]) -> None:
    for shape in SHAPES.values():
        for job in jobs_of({"jobs": [shape(**odd)]}):
            assert job.width >= 1
            assert job.gpus >= 0


# --- commands -----------------------------------------------------------------------------------


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes programs of that name on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")

    def make(name: str, body: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "Unable to contact"),
        ("echo '  JOBID PARTITION'", "no JSON but 'JOBID PARTITION'"),
        ('echo \'{"errors": [{"error": "Authentication failure"}]}\'', "Authentication failure"),
        ("echo '[1]'", "JSON that is no table"),
        ("exit 3", "exit code 3"),
        ("sleep 5", "no answer in 0.3 s"),
        ('test -z "$SQUEUE_FORMAT" || exit 0; echo no', "no JSON but 'no'"),
    ],
)
def test_commands_that_fail_say_so_in_one_line(scripts: Any, body: str, says: str) -> None:
    scripts("squeue", body)
    with pytest.raises(SourceUnavailable) as caught:
        Commands(timeout_s=0.3 if "sleep" in body else 10.0).jobs()
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_sinfo_is_asked_where_scontrol_knows_no_json(scripts: Any, tmp_path: Path) -> None:
    scripts("scontrol", f"echo x >> {tmp_path}/asked; echo \"scontrol: unrecognized option '--json'\" >&2; exit 1")
    scripts("sinfo", "echo '" + json.dumps({"nodes": []}) + "'")
    commands = Commands()
    assert commands.nodes() == commands.nodes() == {"nodes": []}
    assert (tmp_path / "asked").read_text() == "x\n", "and scontrol is not tried again"


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceUnavailable, match="no squeue here"):
        Commands().jobs()


# --- the profile --------------------------------------------------------------------------------


def test_tasks_and_steps_of_a_job_add_up_and_gaps_are_idle() -> None:
    def series(job: str, step: str, task: str, *values: tuple[int, float | None]) -> dict[str, Any]:
        tags = {"job": job, "host": "n01", "step": step, "task": task}
        return {"tags": tags, "values": [list(v) for v in values]}

    bins = added_up(
        [
            series("6", "-5", "0", (0, 0.0), (15_000, 0.0), (30_000, 10.0)),
            series("6", "0", "0", (15_000, 150.0), (30_000, 100.0)),
            series("6", "0", "1", (15_000, 50.0), (30_000, None)),
            series("", "0", "1", (15_000, 50.0)),
            {"tags": {}, "values": [[0, 1.0]]},
        ]
    )
    assert bins == {(6, "n01"): {0: 0.0, 15_000: 2.0, 30_000: 1.1}}
    assert newest(bins[6, "n01"], 45_000, 15_000).busy_cpus == pytest.approx(3.1 / 2), "not the bin in which it began"
    assert newest({0: 0.5}, 15_000, 15_000).busy_cpus == 0.5, "unless there is no other"
    assert newest(bins[6, "n01"], 75_000, 15_000) == Use(pytest.approx(3.1 / 4), 75_000)  # type: ignore[arg-type]
    assert newest(bins[6, "n01"], 600_000, 15_000).busy_cpus == 0.0


class Measures:
    trouble = ""

    def __init__(self, **uses: float) -> None:
        self.uses = {(6, name): Use(cpus, T0_MS) for name, cpus in uses.items()}

    def read(self, now_ms: int) -> Any:
        return self.uses


def test_what_a_job_uses_of_what_it_was_given() -> None:
    def activity(job: dict[str, Any], **uses: float) -> float | None:
        return scheduler(job, profile=Measures(**uses)).observe()[0].activity_frac

    assert activity(old(), n01=16.0, n02=0.0) == 0.25
    assert activity(old(), n01=16.0) == 0.5, "a node that has not told yet is taken as those that have"
    assert activity(old(), n01=64.0, n02=64.0) == 1.0
    assert activity(old(), n07=16.0) is None, "it ran there before it was requeued"
    assert activity(old(start_time=T0_MS // 1000), n01=16.0) is None, "told before it was started again"
    assert activity(old(tres_alloc_str="cpu=64,node=2,gres/gpu=8"), n01=1.0) is None


# --- the twin -----------------------------------------------------------------------------------


def live(*jobs: dict[str, Any], **more: Any) -> tuple[LiveTwin, SlurmScheduler]:
    twin, port = LiveTwin(SITE, T0_MS, members=2, seed=0), scheduler(*jobs, **more)
    twin.follow(port, T0_MS)
    twin.engine.derived.refresh()
    return twin, port


def row(name: str) -> int:
    return next(i for i, node in enumerate(SITE.node_ids) if node.startswith(HALL) and node.endswith(f"/{name}"))


def test_the_twin_has_slurms_jobs_and_measured_use_sets_what_they_do() -> None:
    profile = Measures()
    twin, port = live(old(), profile=profile)
    util = twin.engine.derived.util_frac
    assert util[:, row("n01")] == pytest.approx(0.5 * 0.8)
    before_kw = twin.engine.derived.node_kw[:, row("n01")].copy()
    profile.uses = Measures(n01=8.0, n02=8.0).uses
    port._now_ms.ms += 15_000  # type: ignore[attr-defined]
    engine = twin.engine
    twin.follow(port, T0_MS + 15_000)
    twin.engine.derived.refresh()
    assert twin.engine is engine, "use alone builds nothing anew"
    assert twin.engine.derived.util_frac[:, row("n02")] == pytest.approx(0.125)
    assert (twin.engine.derived.node_kw[:, row("n01")] < before_kw).all()


def test_a_job_ends_at_its_time_limit() -> None:
    twin, _ = live(old(time_limit=20))
    left_s = 1200 - (T0_MS / 1000 - 1711535100)
    twin.engine.run(T0_MS + round((left_s - 30) * 1000))
    assert (twin.state.job_phase == 2).all()
    twin.engine.run(T0_MS + round((left_s + 30) * 1000 / 0.9))
    assert (twin.state.job_phase == 6).all()


def test_what_the_twin_starts_on_its_own_is_taken_back() -> None:
    waits = old(job_state="PENDING", state_reason="Resources", nodes="", node_count=1, cpus=64)
    twin, port = live(waits)
    twin.state.dispatch_due[...] = True  # as after a job that ended at its limit
    twin.advance(T0_MS + 60_000)
    assert (twin.state.job_phase == 2).any(), "there is room in the twin"
    port._now_ms.ms += 60_000  # type: ignore[attr-defined]
    twin.follow(port, T0_MS + 60_000)
    assert (twin.state.job_phase == 1).all(), "but Slurm has not started it"
    engine = twin.engine
    port._now_ms.ms += 15_000  # type: ignore[attr-defined]
    twin.follow(port, T0_MS + 75_000)
    assert twin.engine is engine


def test_nodes_that_are_down_are_off_until_slurm_says_otherwise() -> None:
    twin, port = live(state={"n03": ["DOWN"], "n04": ["IDLE", "DRAIN"]})
    s = twin.state
    assert (s.node_phase[:, row("n03")] == FAILED).all()
    assert (s.node_phase[:, row("n04")] == ON).all()
    assert s.node_cordon[:, row("n04")].all()
    twin.engine.derived.refresh()
    assert (twin.engine.derived.node_kw[:, row("n03")] == 0).all()
    twin.advance(T0_MS + 4 * 3_600_000)
    assert (twin.state.node_phase[:, row("n03")] == FAILED).all(), "the twin does not mend it by its own luck"
    twin.state.node_phase[:, row("n05")] = STOPPED
    port._commands.there = machines()  # type: ignore[attr-defined]
    port._now_ms.ms = T0_MS + 4 * 3_600_000  # type: ignore[attr-defined]
    twin.follow(port, T0_MS + 4 * 3_600_000)
    s = twin.state
    assert (s.node_phase[:, row("n03")] == ON).all()
    assert not s.node_cordon[:, row("n04")].any()
    assert (s.node_phase[:, row("n05")] == STOPPED).all(), "heat and power are telemetry's to tell"


def test_readings_of_nodes_are_shared_out_among_their_jobs() -> None:
    twin, port = live(old(nodes="n01", node_count=1, cpus=32), old(job_id=7, nodes="n[01-02]", cpus=64, name="web"))
    when = [T0_MS + 1000, T0_MS + 1000, T0_MS + 1000]
    names = [f"{HALL}/r01/n01", f"{HALL}/r01/n02", "lab/b/r01/n01"]
    twin.correct(Batch.of(when, names, ["util_frac"] * 3, [0.35, 0.1, 0.9]), T0_MS + 2000)
    twin.engine.derived.refresh()
    util = twin.engine.derived.util_frac
    assert util[:, row("n01")] == pytest.approx(0.35, abs=0.01)
    assert util[:, row("n02")] == pytest.approx(0.1, abs=0.01)
    port._commands.told["jobs"].append(old(job_id=8, nodes="n03", node_count=1, cpus=64))  # type: ignore[attr-defined]
    port._now_ms.ms += 15_000  # type: ignore[attr-defined]
    twin.follow(port, T0_MS + 15_000)
    twin.engine.derived.refresh()
    assert twin.engine.derived.util_frac[:, row("n02")] == pytest.approx(0.1, abs=0.01), "a new job changes no old one"


def test_a_reading_from_before_a_job_began_says_nothing_of_it() -> None:
    twin, _ = live(old(nodes="n01", node_count=1, cpus=64, start_time=T0_MS // 1000 - 10))
    twin.correct(Batch.of([T0_MS - 20_000], [f"{HALL}/r01/n01"], ["util_frac"], [0.0]), T0_MS)
    twin.engine.derived.refresh()
    assert twin.engine.derived.util_frac[:, row("n01")] == pytest.approx(0.8)


@settings(max_examples=examples(60))
@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_what_jobs_can_explain_is_explained(nodes: int, jobs: int, seed: int) -> None:
    luck = np.random.default_rng(seed)
    share, truth = luck.uniform(0.1, 0.5, jobs), luck.uniform(0, 1, jobs)
    job, node = np.nonzero(luck.random((jobs, nodes)) < 0.4)
    util = np.bincount(node, (share * truth)[job], nodes)
    before = luck.uniform(0, 1, jobs)
    after = shared_out(before, share, job, node, util)
    assert ((after >= 0) & (after <= 1)).all()
    here = np.bincount(job, minlength=jobs) > 0
    assert np.array_equal(after[~here], before[~here]), "what no reading speaks of stays"

    def wrong(activity: np.ndarray) -> float:
        return float(np.abs(np.bincount(node, (share * activity)[job], nodes) - util).sum())

    assert wrong(after) <= wrong(before) + 1e-9
    assert wrong(after) <= 0.25 * wrong(before) + 0.02 * nodes
