"""Laws of SchedulerPort: every implementation goes into `BENCHES` and keeps all of them."""

from dataclasses import dataclass

import pytest
from emulated_bench import EmulatedBench

from scheduler.port import JobView, SchedulerPort, owner
from scheduler.simulated import SimulatedScheduler

EAST, WEST = "r/east", "r/west"
ALPHA, BETA = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"


@dataclass
class SimulatedBench:
    """What the laws need besides the port: a clock, a person's hand, a restart, and a count of effects.

    The world: halls r/east and r/west of four nodes each (`<hall>/n0` … `n3`); jobs j0 (two nodes, priority 1) and
    j1 (one node, priority 5) run in the east, q0 waits for nine nodes and never starts.
    """

    path: str
    clock_ms: int = 1_000_000

    def __post_init__(self):
        self.port = self._open()
        for hall in (EAST, WEST):
            self.port.add_nodes(hall, [f"{hall}/n{i}" for i in range(4)])
        self.port.add_job(JobView("j0", "batch", EAST, (f"{EAST}/n0", f"{EAST}/n1"), "running", 1))
        self.port.add_job(JobView("j1", "realtime", EAST, (f"{EAST}/n2",), "running", 5))
        self.port.add_job(JobView("q0", "batch", EAST, (), "queued", 0), size=9)

    def _open(self):
        return SimulatedScheduler(lambda: self.clock_ms, self.path)

    def wait(self, seconds: float) -> None:
        self.clock_ms += round(seconds * 1000)

    def person_cordons(self, node: str) -> None:
        self.port.person_cordons(node, "ada")

    def restart(self) -> None:
        self.port.close()
        self.port = self._open()

    def effects(self) -> int:
        return len(self.port.effects())


BENCHES = {"simulated": SimulatedBench, "emulated": EmulatedBench}


@pytest.fixture(params=BENCHES.values(), ids=BENCHES)
def bench(request, tmp_path):
    return request.param(str(tmp_path / "scheduler.sqlite"))


def node(bench, name: str):
    return next(one for one in bench.port.nodes() if one.id == name)


def job(bench, name: str) -> JobView:
    return next(one for one in bench.port.observe() if one.id == name)


CALLS = {
    "cordon": lambda p, k, e: p.cordon(k, e, [f"{EAST}/n0"], "hot"),
    "uncordon": lambda p, k, e: p.uncordon(k, e, [f"{EAST}/n0"]),
    "cap": lambda p, k, e: p.cap(k, e, [f"{EAST}/n0"], 0.6),
    "uncap": lambda p, k, e: p.uncap(k, e, [f"{EAST}/n0"]),
    "move": lambda p, k, e: p.move(k, e, ["j0"], WEST, 2),
    "drain": lambda p, k, e: p.drain(k, e, ["j0"]),
    "requeue": lambda p, k, e: p.requeue(k, e, ["j0"]),
    "hold_job": lambda p, k, e: p.hold_job(k, e, ["q0"]),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def test_the_bench_meets_the_protocol(bench):
    port: SchedulerPort = bench.port
    assert {one.id for one in port.observe()} == {"j0", "j1", "q0"}
    assert len(port.nodes()) == 8
    assert node(bench, f"{EAST}/n3").free
    assert not node(bench, f"{EAST}/n0").free


@each_call
def test_the_same_key_answers_the_same_receipt_and_acts_once(bench, call):
    first = call(bench.port, f"{ALPHA}:0", 1)
    again = call(bench.port, f"{ALPHA}:0", 1)
    assert first.status in ("done", "accepted")
    assert again == first
    assert bench.effects() == 1


@each_call
def test_a_call_is_remembered_across_a_restart(bench, call):
    first = call(bench.port, f"{ALPHA}:0", 1)
    bench.restart()
    assert bench.port.query(f"{ALPHA}:0") == first
    assert call(bench.port, f"{ALPHA}:0", 2) == first
    assert bench.effects() == 1


@each_call
def test_an_older_epoch_is_refused_and_does_not_use_up_its_key(bench, call):
    bench.port.cap(f"{BETA}:0", 5, [f"{WEST}/n0"], 0.9)
    refused = call(bench.port, f"{ALPHA}:0", 4)
    assert (refused.status, refused.code) == ("rejected", "fenced")
    assert bench.port.query(f"{ALPHA}:0") is None
    assert bench.effects() == 1
    assert call(bench.port, f"{ALPHA}:0", 6).status in ("done", "accepted")


def test_a_new_epoch_can_be_announced_before_its_first_call(bench):
    assert bench.port.fence(7)
    assert bench.port.fence(7)
    assert not bench.port.fence(6)
    assert bench.port.cap(f"{ALPHA}:0", 6, [f"{WEST}/n0"], 0.9).code == "fenced"
    assert bench.effects() == 0


def test_an_older_epoch_stays_refused_after_a_restart(bench):
    bench.port.cap(f"{BETA}:0", 5, [f"{WEST}/n0"], 0.9)
    bench.restart()
    assert bench.port.cap(f"{ALPHA}:0", 4, [f"{WEST}/n1"], 0.9).code == "fenced"


def test_a_key_with_other_content_is_refused_and_the_first_call_stands(bench):
    bench.port.cap(f"{ALPHA}:0", 1, [f"{EAST}/n0"], 0.6)
    for other in (
        bench.port.cap(f"{ALPHA}:0", 1, [f"{EAST}/n0"], 0.5),
        bench.port.cap(f"{ALPHA}:0", 1, [f"{EAST}/n1"], 0.6),
        bench.port.cordon(f"{ALPHA}:0", 1, [f"{EAST}/n0"], "hot"),
    ):
        assert (other.status, other.code) == ("rejected", "key_reused")
    assert bench.port.query(f"{ALPHA}:0").status == "done"
    assert node(bench, f"{EAST}/n0").cap_frac == 0.6
    assert node(bench, f"{EAST}/n1").cap_frac == 1.0


def test_a_key_never_sent_is_not_known(bench):
    assert bench.port.query(f"{ALPHA}:0") is None


def test_cordon_and_cap_hold_until_the_same_plan_takes_them_back(bench):
    n0 = f"{EAST}/n0"
    bench.port.cordon(f"{ALPHA}:0", 1, [n0], "hot")
    bench.port.cap(f"{ALPHA}:1", 1, [n0], 0.6)
    assert node(bench, n0).cordoned_by == (ALPHA,)
    assert node(bench, n0).cap_frac == 0.6
    bench.port.uncordon(f"{BETA}:0", 1, [n0])
    bench.port.uncap(f"{BETA}:1", 1, [n0])
    assert node(bench, n0).cordoned_by == (ALPHA,)
    assert node(bench, n0).cap_frac == 0.6
    bench.port.uncordon(f"{ALPHA}:2", 1, [n0])
    bench.port.uncap(f"{ALPHA}:3", 1, [n0])
    assert node(bench, n0).cordoned_by == ()
    assert node(bench, n0).cap_frac == 1.0


@pytest.mark.parametrize("person_first", [True, False])
def test_a_cordon_set_by_a_person_stays(bench, person_first):
    n3 = f"{EAST}/n3"
    if person_first:
        bench.person_cordons(n3)
    bench.port.cordon(f"{ALPHA}:0", 1, [n3], "hot")
    if not person_first:
        bench.person_cordons(n3)
    bench.port.uncordon(f"{ALPHA}:1", 1, [n3])
    assert len(node(bench, n3).cordoned_by) == 1
    assert ALPHA not in node(bench, n3).cordoned_by
    assert not node(bench, n3).free


def test_the_lower_of_two_caps_is_in_force(bench):
    n0 = f"{EAST}/n0"
    bench.port.cap(f"{ALPHA}:0", 1, [n0], 0.6)
    bench.port.cap(f"{BETA}:0", 1, [n0], 0.8)
    assert node(bench, n0).cap_frac == 0.6
    bench.port.uncap(f"{ALPHA}:1", 1, [n0])
    assert node(bench, n0).cap_frac == 0.8


def test_a_moved_job_runs_once_in_the_other_hall(bench):
    assert bench.port.move(f"{ALPHA}:0", 1, ["j0", "j1"], WEST, 1).status == "accepted"
    assert job(bench, "j0").phase == "moving"
    bench.wait(3600)
    assert bench.port.query(f"{ALPHA}:0").status == "done"
    for name, size in (("j0", 2), ("j1", 1)):
        moved = job(bench, name)
        assert (moved.phase, moved.hall, len(moved.nodes)) == ("running", WEST, size)
    assert not set(job(bench, "j0").nodes) & set(job(bench, "j1").nodes)
    assert node(bench, f"{EAST}/n0").free


def test_the_important_job_moves_first(bench):
    bench.port.move(f"{ALPHA}:0", 1, ["j0", "j1"], WEST, 1)
    seen = []
    for _ in range(600):
        bench.wait(1)
        seen += [n for n in ("j0", "j1") if job(bench, n).hall == WEST and n not in seen]
        if len(seen) == 2:
            break
    assert seen == ["j1", "j0"]


def test_a_move_without_room_is_refused_whole(bench):
    bench.port.cordon(f"{BETA}:0", 1, [f"{WEST}/n0", f"{WEST}/n1"], "full")
    receipt = bench.port.move(f"{ALPHA}:0", 1, ["j0", "j1"], WEST, 2)
    assert receipt.status == "rejected"
    assert receipt.detail
    assert {job(bench, n).phase for n in ("j0", "j1")} == {"running"}


def test_two_moves_do_not_count_the_same_room_twice(bench):
    bench.port.cordon(f"{BETA}:0", 1, [f"{WEST}/n0", f"{WEST}/n1"], "full")
    assert bench.port.move(f"{ALPHA}:0", 1, ["j0"], WEST, 1).status == "accepted"
    assert bench.port.move(f"{BETA}:1", 1, ["j1"], WEST, 1).status == "rejected"


def test_a_drained_job_leaves_its_nodes_only_at_its_checkpoint(bench):
    bench.port.cordon(f"{ALPHA}:0", 1, [f"{EAST}/n{i}" for i in range(4)], "hot")
    assert bench.port.drain(f"{ALPHA}:1", 1, ["j0"]).status == "accepted"
    assert f"{EAST}/n0" in job(bench, "j0").nodes
    bench.wait(3600)
    assert bench.port.query(f"{ALPHA}:1").status == "done"
    assert job(bench, "j0").hall == WEST or job(bench, "j0").phase == "queued"
    assert f"{EAST}/n0" not in job(bench, "j0").nodes


def test_a_requeued_job_leaves_its_nodes_at_once(bench):
    bench.port.cordon(f"{ALPHA}:0", 1, [f"{EAST}/n{i}" for i in range(4)], "hot")
    assert bench.port.requeue(f"{ALPHA}:1", 1, ["j0"]).status == "done"
    assert f"{EAST}/n0" not in job(bench, "j0").nodes


def test_a_held_job_does_not_start_until_it_is_released(bench):
    bench.port.hold_job(f"{ALPHA}:0", 1, ["q0"])
    assert job(bench, "q0").phase == "held"
    bench.port.hold_job(f"{ALPHA}:1", 1, ["q0"], held=False)
    assert job(bench, "q0").phase == "queued"


BAD_CALLS = {
    "cordon nothing": lambda p: p.cordon(f"{ALPHA}:0", 1, [], "hot"),
    "uncordon nothing": lambda p: p.uncordon(f"{ALPHA}:0", 1, []),
    "cap nothing": lambda p: p.cap(f"{ALPHA}:0", 1, [], 0.5),
    "move nothing": lambda p: p.move(f"{ALPHA}:0", 1, [], WEST, 1),
    "requeue nothing": lambda p: p.requeue(f"{ALPHA}:0", 1, []),
    "cordon an unknown node": lambda p: p.cordon(f"{ALPHA}:0", 1, [f"{EAST}/n0", "nobody"], "hot"),
    "move an unknown job": lambda p: p.move(f"{ALPHA}:0", 1, ["j0", "nobody"], WEST, 1),
    "move to an unknown hall": lambda p: p.move(f"{ALPHA}:0", 1, ["j0"], "nowhere", 1),
}


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS)
def test_an_empty_or_unknown_list_changes_nothing(bench, call):
    before = (bench.port.nodes(), bench.port.observe())
    receipt = call(bench.port)
    assert (receipt.status, receipt.code) == ("rejected", "")
    assert receipt.detail
    assert (bench.port.nodes(), bench.port.observe()) == before
    assert bench.effects() == 0


def test_the_owner_of_a_key_is_its_plan():
    assert [owner(key) for key in (f"{ALPHA}:0", f"{ALPHA}:0.1", f"{ALPHA}:3:undo1")] == [ALPHA] * 3


def test_jobs_of_a_failed_node_wait_and_start_elsewhere(tmp_path):
    bench = SimulatedBench(str(tmp_path / "s.sqlite"))
    bench.port.set_up(f"{EAST}/n0", False)
    assert f"{EAST}/n0" not in job(bench, "j0").nodes
    assert job(bench, "j0").nodes == (f"{EAST}/n1", f"{EAST}/n3")
