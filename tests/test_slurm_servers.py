"""A real Slurm and its profile plugin, followed by the twin: jobs, nodes, utilisation, drains and crashes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import InfluxServer, missing_for_influx
from servers_slurm import CPUS, NODES, SlurmServer, missing_for_slurm

from plant.errors import StoreUnavailable
from plant.site import Site, load_site
from recovery.livetwin import LiveTwin
from scheduler.slurm import SlurmScheduler
from scheduler.slurm_commands import Commands
from scheduler.slurm_profile import SlurmProfile
from twin.nodephase import FAILED, ON
from twin.telemetry.sqlite_store import SqliteStore
from verbs.site_import import run as site_import

pytestmark = pytest.mark.servers

LOOK_MS = 1000
TOLERANCE = 0.02  # of a node's utilisation; its four CPUs stand on two that others use too
# Burns a fixed share of one CPU by its own clock of CPU time, however busy the machine is.
BURN = """python3 -c "
import time
due = time.monotonic()
while True:
    t = time.process_time()
    while time.process_time() - t < {busy} * 0.5: pass
    due = max(due + 0.5, time.monotonic())
    time.sleep(max(due - time.monotonic(), 0))
" """


def wall_ms() -> int:
    return int(time.time() * 1000)


class World:
    """Slurm with its plugin, the site made of its own node list, and a twin that follows."""

    def __init__(self, folder: Path) -> None:
        self.influx = InfluxServer(folder / "influx").start()
        self.slurm = SlurmServer(folder / "slurm", self.influx)
        try:
            self.slurm.start()
        except BaseException:
            self.stop()
            raise
        nodes = folder / "nodes.txt"
        nodes.write_text(self.slurm.command("scontrol", "show", "node", "-o"))
        self.site_file = folder / "alps.toml"
        site_import(str(nodes), out=str(self.site_file), rack_from=r"feature:rack(\d+)")
        self.site: Site = load_site(self.site_file)
        # straight to influxd, as the plugin writes: the door in front asks for a token that the plugin cannot give
        self.profile = SlurmProfile(f"http://127.0.0.1:{self.influx.inner}", self.slurm.database, every_s=1.0)
        commands = Commands(str(self.slurm.conf))
        assert commands.profile_every_s() == 1.0
        self.scheduler = SlurmScheduler(wall_ms, self.site, commands=commands, look_ms=LOOK_MS, profile=self.profile)
        self.twin = LiveTwin(self.site, wall_ms() // 15_000 * 15_000, members=2, seed=0)

    def stop(self) -> None:
        self.slurm.stop()
        self.influx.stop()

    def id(self, node: str) -> str:
        return next(name for name in self.site.node_ids if name.endswith(f"/{node}"))

    def row(self, node: str) -> int:
        return self.site.node_ids.index(self.id(node))

    def follow(self) -> None:
        self.twin.follow(self.scheduler, wall_ms())
        self.twin.engine.derived.refresh()

    def within(self, seconds: float, true: Callable[[], bool], words: str) -> float:
        """Seconds until something is true of the twin that follows all the while."""
        begun = time.monotonic()
        while True:
            self.follow()
            if true():
                return time.monotonic() - begun
            assert time.monotonic() - begun < seconds, f"{words} after {seconds} s"
            time.sleep(0.25)

    def placed(self) -> dict[str, set[str]]:
        """Job -> its nodes, as the twin has them in every member."""
        state = self.twin.state
        out = {}
        for j, name in enumerate(state.jobs.ids):
            slots = state.slot_node[:, state.jobs.slot_start[j] : state.jobs.slot_start[j + 1]]
            assert (slots == slots[0]).all()
            out[name] = {self.site.node_ids[n].rpartition("/")[2] for n in slots[0] if n >= 0}
        return out

    def util(self, node: str) -> float:
        return float(self.twin.engine.derived.util_frac[:, self.row(node)].mean())

    def truly(self) -> dict[str, set[str]]:
        """Job -> its nodes, as squeue prints them for people."""
        lines = self.slurm.command("squeue", "-h", "-r", "-t", "R", "-o", "%i %N").splitlines()
        from plant.slurmtext import hosts

        return {job: set(hosts(where)) for job, where in (line.split() for line in lines)}


def worked(world: World, folder: Path) -> dict[str, Any]:
    """The results of one tick of `foretwin run` with Slurm as scheduler and as source."""
    from verbs.run import run

    config, url = folder / "foretwin.toml", f"http://127.0.0.1:{world.influx.inner}"
    config.write_text(
        f'[scheduler]\nkind = "slurm"\nconf = "{world.slurm.conf}"\nprofile_database = "{world.slurm.database}"\n'
        f'profile_url = "{url}"\n[loop]\nmembers = 2\nfinalists = 2\ntick_s = 5.0\n'
        f'[sources.slurm]\nkind = "slurm_profile"\nconf = "{world.slurm.conf}"\n'
        f'url = "{url}"\ndatabase = "{world.slurm.database}"\n'
    )
    return run(folder / "home", str(world.site_file), config, once=True, say=lambda line: None)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    missing = missing_for_influx() + missing_for_slurm(plugin=True)
    if missing:
        pytest.skip(f"slurm: {' and '.join(missing)} missing (`make servers`, as root)")
    world = World(tmp_path_factory.mktemp("slurm"))
    yield world
    world.stop()


def test_the_site_made_of_its_list_has_its_nodes_racks_and_accelerators(world: World) -> None:
    assert [n.rpartition("/")[2] for n in world.site.node_ids] == list(NODES)
    assert sorted(world.site.rack_ids) == ["site/hall/r1", "site/hall/r2", "site/hall/r2-b"]
    assert world.site.node_gpus.tolist() == [0] * 7 + [2]
    assert not world.scheduler.outside
    assert world.scheduler.cpus_of("n1") == CPUS


def _used(clock: list[tuple[int, float, float]], start_ms: int, end_ms: int) -> dict[str, float]:
    """Share of each node's CPUs that the kernel counted for the two busy jobs between two times."""
    inside = [row for row in clock if start_ms <= row[0] < end_ms]
    passed_s = (inside[-1][0] - inside[0][0]) / 1000.0
    busy = [(inside[-1][k] - inside[0][k]) / passed_s for k in (1, 2)]
    assert min(busy) > 0.05, "the machine gave the jobs something to measure"
    wide = busy[1] / 2 / CPUS
    return {"n1": busy[0] / CPUS, "n3": wide, "n4": wide, "n5": 0.0, "n6": 0.0, "n2": 0.0}


def _among(use_frac: float, kernel: list[float]) -> bool:
    """Whether a use lies where the kernel's counts do, to the tolerance."""
    return min(kernel) - TOLERANCE <= use_frac <= max(kernel) + TOLERANCE


def test_jobs_and_what_they_use_are_those_of_slurm(world: World, tmp_path: Path) -> None:
    slurm = world.slurm
    burner = slurm.submit(BURN.format(busy=0.7), "-w", "n1", "-c1", "--time=30")
    wide = slurm.submit(f"srun --overlap {BURN.format(busy=0.3)}", "-w", "n[3-4]", "-N2", "-n2", "-c2", "-J", "etl")
    idle = slurm.submit("sleep 600", "-w", "n5", "-c4", "-p", "train")
    array = slurm.submit("sleep 600", "-w", "n6", "--array=1-3")
    held = slurm.submit("sleep 1", "--hold")
    later = slurm.submit("sleep 1", "--begin=now+1hour")
    took = world.within(30, lambda: len(world.placed()) == 8, "eight jobs are in the twin")
    slurm.wait(lambda: len(world.truly()) == 6, "six jobs run")
    world.within(30, lambda: {k: v for k, v in world.placed().items() if v} == world.truly(), "the same places")
    view = {job.id: job for job in world.scheduler.observe()}
    assert view[str(wide)].nodes == (world.id("n3"), world.id("n4"))
    assert {view[f"{array}_{task}"].nodes for task in (1, 2, 3)} == {(world.id("n6"),)}
    assert [view[str(job)].phase for job in (burner, held, later)] == ["running", "held", "held"]
    assert [view[str(job)].job_class for job in (burner, wide, idle)] == ["scientific", "big_data", "training"]
    assert [view[str(job)].share_frac for job in (burner, wide, idle)] == [0.25, 0.5, 1.0]
    left_s = view[str(burner)].left_s
    assert left_s is not None
    assert 30 * 60 - 30 <= left_s <= 30 * 60
    assert view[str(idle)].left_s == pytest.approx(365 * 86400, rel=0.01) or view[str(idle)].left_s is None
    assert world.util("n5") > 0.5, "before anything is measured a job is as busy as its class"

    clock: list[tuple[int, float, float]] = []

    def measured() -> bool:
        clock.append((wall_ms(), slurm.cpu_s(burner), slurm.cpu_s(wide)))
        return all(world.util(n) < 0.22 for n in ("n1", "n3", "n4", "n5", "n6"))

    told = world.within(90, measured, "use is measured")
    # Two bins more, to have something to compare, and no bin of the minute in which the jobs had not begun yet.
    first_ms = min(min(bins) for bins in world.profile.bins.values()) + world.profile.bin_ms
    edge_ms = max(world.profile.edge_ms(wall_ms()) + 2 * world.profile.bin_ms, first_ms + 60_000)
    world.within(120, lambda: measured() and world.profile.edge_ms(wall_ms()) >= edge_ms, "two bins more")
    # How much the jobs get changes with what else runs here: some bins sooner, and one that may just have ended.
    ends = range(edge_ms - 2 * world.profile.bin_ms, edge_ms + world.profile.bin_ms + 1, world.profile.bin_ms)
    wanted = [_used(clock, max(end_ms - 60_000, first_ms), end_ms) for end_ms in ends if end_ms > first_ms + 30_000]
    found = {node: world.util(node) for node in wanted[0]}
    assert all(_among(use, [one[node] for one in wanted]) for node, use in found.items()), (found, wanted)
    print(f"jobs after {took:.1f} s, use after {told:.1f} s, utilisation {found}, by the kernel {wanted}")
    assert not world.profile.trouble
    assert not slurm.dead()

    worked(world, tmp_path)
    store = SqliteStore(tmp_path / "home" / "telemetry.sqlite", read_only=True)
    told = store.read([world.id(node) for node in NODES], ["util_frac"], 0, 2**62)
    store.close()
    assert set(told.component) == {world.id(f"n{i}") for i in (1, 3, 4, 5, 6)}
    newest = told.value[told.component == world.id("n1")][-2:]
    assert _among(newest.mean(), [one["n1"] for one in wanted]), (newest, wanted)


def test_a_drained_node_is_cordoned_and_its_job_runs_on(world: World) -> None:
    world.slurm.command("scontrol", "update", "nodename=n5", "state=drain", "reason=hot aisle, row 3 State=IDLE")
    row = world.row("n5")
    world.within(20, lambda: bool(world.twin.state.node_cordon[:, row].all()), "n5 is cordoned")
    assert (world.twin.state.node_phase[:, row] == ON).all()
    assert "n5" in set().union(*world.placed().values())
    reasons = {n.id: n.cordoned_by for n in world.scheduler.nodes()}
    assert reasons[world.id("n5")] == ("slurm drain: hot aisle, row 3 State=IDLE",)
    world.slurm.command("scontrol", "update", "nodename=n5", "state=resume")
    world.within(20, lambda: not world.twin.state.node_cordon[:, row].any(), "n5 takes jobs again")


def test_a_crashed_node_is_down_and_comes_back(world: World) -> None:
    row = world.row("n6")
    assert (world.twin.state.node_phase[:, row] == ON).all()
    world.slurm.kill_node("n6")
    off = world.within(30, lambda: world.scheduler.trouble == "", "slurm answers")
    kept_off = world.within(40, lambda: bool(world.twin.state.node_cordon[:, row].all()), "n6 gets no job")
    down = world.within(40, lambda: bool((world.twin.state.node_phase[:, row] == FAILED).all()), "n6 is down")
    print(f"no new jobs after {off + kept_off:.1f} s, down after {off + kept_off + down:.1f} s")
    assert off + kept_off + down < 60.0, "Slurm itself needs about 26 s with SlurmdTimeout=4"
    world.within(30, lambda: "n6" not in set().union(set(), *world.placed().values()), "no job is left there")
    world.slurm.start_node("n6")
    world.within(20, lambda: bool((world.twin.state.node_phase[:, row] == ON).all()), "n6 is back")


def test_the_worker_runs_against_it(world: World, tmp_path: Path) -> None:
    job = world.slurm.submit("sleep 600", "-w", "n7")
    world.slurm.wait(lambda: str(job) in world.truly(), "the job runs")
    results = worked(world, tmp_path)
    assert results["ok"]
    lacks = {row["name"] for row in results["items"] if row["what"] == "missing"}
    assert not lacks & {"slurm", "profile", "jobs", "nodes"}


def test_the_doctor_looks_at_it(world: World, tmp_path: Path) -> None:
    from verbs.doctor_slurm import checks

    config = tmp_path / "foretwin.toml"

    def said(url: str, site: str) -> dict[str, tuple[bool, str, str]]:
        config.write_text(
            f'[site]\nfile = "{site}"\n[scheduler]\nkind = "slurm"\nconf = "{world.slurm.conf}"\n'
            f'profile_url = "{url}"\nhalls = {["lab/a"] if site == "tiny" else []}\n'
        )
        return {name: check() for name, check in checks(config, wall_ms()).items()}

    inner = f"http://127.0.0.1:{world.influx.inner}"
    good = said(inner, str(world.site_file))
    assert [ok for ok, _, _ in good.values()] == [True, True], good
    assert "22.05" in good["slurm"][1] or "slurm" in good["slurm"][1]
    assert "8 nodes" in good["slurm"][1]
    assert good["slurm profile"][1] == "samples every 1 s, use known 40 s later"
    ok, found, _ = said(inner, "tiny")["slurm"]
    assert not ok
    assert "8 of them not in the site" in found
    with pytest.raises(StoreUnavailable, match="does not answer"):
        said("http://127.0.0.1:9", str(world.site_file))
    config.write_text("")
    assert checks(config, 0) == {}


def test_when_slurm_stops_answering_what_it_said_stands(world: World) -> None:
    before = world.scheduler.observe()
    world.slurm.processes["slurmctld"].terminate()
    world.slurm.processes.pop("slurmctld").wait(10)
    world.scheduler._commands._timeout_s = 2.0  # Slurm's commands wait for a controller far longer
    time.sleep(LOOK_MS / 1000.0)
    assert [job.id for job in world.scheduler.observe()] == [job.id for job in before]
    assert "no answer" in world.scheduler.trouble
    text = json.dumps(world.scheduler.trouble)
    assert "squeue" in text
