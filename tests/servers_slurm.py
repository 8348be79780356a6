"""A real Slurm for tests: munge, slurmctld and eight slurmd on this machine, in one folder and on free ports.

Slurm as packaged wants root. Its profile plugin writes what jobs use into an InfluxDB, if one is given. Everything is
stopped by its process id; what jobs leave behind is found by the folder's name in its environment.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path

from servers import InfluxServer, free_ports

NODES = tuple(f"n{i}" for i in range(1, 9))
CPUS = 4
READY_S = 30.0
PLUGIN = "/usr/lib/*/slurm*/acct_gather_profile_influxdb.so"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "sinfo", "scancel")

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

_CONF = """
ClusterName=twin
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=6
SlurmctldPort={ctl}
SlurmdPort={first}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=10000
SlurmdParameters=config_overrides
ReturnToService=1
SlurmdTimeout={timeout_s}
KillWait=2
CompleteWait=0
GresTypes=gpu
{profile}
{nodes}
PartitionName=batch Nodes=n[1-8] Default=YES MaxTime=INFINITE State=UP
PartitionName=train Nodes=n[1-8] MaxTime=INFINITE State=UP
"""

_PROFILE = """
ProfileInfluxDBHost=127.0.0.1:{port}
ProfileInfluxDBDatabase={database}
ProfileInfluxDBDefault=ALL
ProfileInfluxDBRTPolicy=autogen
"""


def missing_for_slurm(plugin: bool = False) -> list[str]:
    """What a SlurmServer needs and this machine lacks; `make servers` installs the programs."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_PATH)]
    if plugin and not glob(PLUGIN):
        missing.append("slurm-wlm-influxdb-plugin")
    return missing + ([] if os.geteuid() == 0 else ["the right to be root"])


class SlurmServer:
    """Eight nodes n1..n8 of four CPUs; n1-n4 in rack1, n5-n8 in rack2, n8 marked with two accelerators."""

    def __init__(self, folder: Path, influx: InfluxServer | None = None, timeout_s: int = 4) -> None:
        self.folder, self.influx, self.timeout_s = folder, influx, timeout_s
        self.database = "slurm"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def conf(self) -> Path:
        """The configuration that every client is pointed at."""
        return self.folder / "slurm.conf"

    @property
    def env(self) -> dict[str, str]:
        """The environment in which Slurm's clients speak to this Slurm and no other."""
        rest = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
        return rest | {"SLURM_CONF": str(self.conf), "PATH": _PATH}

    def start(self) -> SlurmServer:
        """All daemons up and every node idle; a port that was taken meanwhile gets a second try."""
        for attempt in (1, 2):
            try:
                return self._start()
            except AssertionError:
                self.stop()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _start(self) -> SlurmServer:
        self._write()
        d = self.folder
        self._run(
            "munged", "munged", "-F", "--force", f"--key-file={d}/munge.key", f"--socket={d}/run/munge.sock",
            f"--pid-file={d}/run/munged.pid", f"--log-file={d}/log/munged.log", f"--seed-file={d}/run/munge.seed",
        )  # fmt: skip
        self.wait(lambda: (d / "run/munge.sock").exists(), "munge has no socket")
        self._run("slurmctld", "slurmctld", "-D", "-i", "-f", str(self.conf))
        for node in NODES:
            self.start_node(node)
        self.wait(lambda: set(self.node_states().values()) == {"IDLE"}, "nodes are not idle")
        return self

    def _write(self) -> None:
        for name in ("run", "log", "state", "jobs", *(f"spool/{n}" for n in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        ctl, *ports = free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={n} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory=1000"
            f" Feature=rack{1 if i < 4 else 2},air State=UNKNOWN{' Gres=gpu:a100:2' if n == NODES[-1] else ''}"
            for i, (n, port) in enumerate(zip(NODES, ports, strict=True))
        )
        gres = "".join(f"NodeName={NODES[-1]} Name=gpu Type=a100 File=/dev/{name}\n" for name in ("null", "zero"))
        (self.folder / "gres.conf").write_text(gres)
        (self.folder / "cgroup.conf").write_text("")
        profile = ""
        if self.influx is not None:
            profile = "AcctGatherProfileType=acct_gather_profile/influxdb"
            acct = _PROFILE.format(port=self.influx.inner, database=self.influx.create_database(self.database))
            (self.folder / "acct_gather.conf").write_text(acct)
        text = _CONF.format(
            host=socket.gethostname(), folder=self.folder, ctl=ctl, first=ports[0], profile=profile, nodes=nodes,
            timeout_s=self.timeout_s,
        )  # fmt: skip
        self.conf.write_text(text)

    def start_node(self, node: str) -> None:
        """The daemon of one node, started (again)."""
        self._run(node, "slurmd", "-D", "-N", node, "-f", str(self.conf))

    def kill_node(self, node: str) -> None:
        """A crash: the daemon of a node and all that its jobs run there is gone at once."""
        daemon = self.processes.pop(node)
        daemon.kill()
        daemon.wait(5)
        for pid, told in self._ours():
            if f"SLURMD_NODENAME={node}\0" in told or self._is_stepd_of(pid, node):
                _kill(pid, signal.SIGKILL)

    def _is_stepd_of(self, pid: int, node: str) -> bool:
        # a stepd keeps its node's log file open
        try:
            return any(os.readlink(f).endswith(f"slurmd-{node}.log") for f in glob(f"/proc/{pid}/fd/*"))
        except OSError:
            return False

    def dead(self) -> list[str]:
        """Daemons that should run and do not: a node can show idle for a while although its daemon died."""
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def command(self, *words: str) -> str:
        """What one of Slurm's clients prints."""
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def submit(self, script: str, *options: str) -> int:
        """Number of a new batch job that runs this shell text."""
        said = self.command(
            "sbatch", "--parsable", f"--output={self.folder}/jobs/%j.out", "--chdir", str(self.folder), *options,
            "--wrap", script,
        )  # fmt: skip
        return int(re.split(r"[;\n]", said)[0])

    def node_states(self) -> dict[str, str]:
        """State of each node as `scontrol show node` says it."""
        done = subprocess.run(
            ["scontrol", "show", "node", "-o"], env=self.env, capture_output=True, text=True, timeout=20
        )
        return dict(re.findall(r"NodeName=(\S+) .*?State=(\S+)", done.stdout))

    def wait(self, true: Callable[[], bool], words: str, within_s: float = READY_S) -> float:
        """Seconds until something is true; fails with words, or when a daemon died."""
        begun = time.monotonic()
        while not true():
            assert not self.dead(), f"{self.dead()} died; see {self.folder}/log"
            assert time.monotonic() - begun < within_s, f"{words} after {within_s} s; see {self.folder}/log"
            time.sleep(0.05)
        return time.monotonic() - begun

    def stop(self) -> None:
        """Every process gone: jobs with their shepherds, then all daemons at once, then what they left."""
        for pid, _ in self._ours():
            _kill(pid, signal.SIGKILL)
        for name, process in self.processes.items():
            # a slurmd asked to end waits for jobs that are no more
            process.send_signal(signal.SIGKILL if name in NODES else signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(2)  # slurmctld takes five to say farewell to nodes that are gone
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self.processes.clear()
        for pid, _ in self._ours():
            _kill(pid, signal.SIGKILL)

    def cpu_s(self, job: int) -> float:
        """CPU time that the living processes of a job have had, as the kernel counts it [s]."""
        ticks = 0
        for pid, told in self._ours():
            if f"SLURM_JOB_ID={job}\0" in told:
                try:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _ours(self) -> Iterator[tuple[int, str]]:
        """Processes started under this folder's configuration, with their environment, except its daemons."""
        mine = {process.pid for process in self.processes.values()} | {os.getpid()}
        for place in glob("/proc/[0-9]*"):
            pid = int(place.rsplit("/", 1)[1])
            try:
                told = Path(place, "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"SLURM_CONF={self.conf}\0" in told and pid not in mine:
                yield pid, told

    def _run(self, name: str, *command: str) -> None:
        program = shutil.which(command[0], path=_PATH)
        assert program is not None, f"{command[0]} is not installed: run `make servers`"
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [program, *command[1:]], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.env
            )


def _kill(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return
