"""Commands to the emulated site: idempotent by key, fenced by epoch, obeyed by the same effects that plans have."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plant.actions import Action
from plant.errors import ForetwinError
from plant.migration import MODES
from twin import effects
from twin import jobs as J
from twin.cooling_bits import CHILLER_ON
from twin.engine import Engine
from twin.link_lives import touched
from twin.nodephase import ON
from twin.placement import requeue
from twin.plant_steps import check_plant_step, nothing_done

Flags = NDArray[np.bool_]
Answer = dict[str, Any]
PORT_PHASES = {
    J.NOT_ARRIVED: "", J.WAITING: "queued", J.RUNNING: "running", J.MOVING: "moving", J.RESTARTING: "running",
    J.HELD: "held", J.DONE: "done",
}  # fmt: skip
AT_WORK = (J.RUNNING, J.RESTARTING)  # what the port shows as running
FEEDS = ("ups_on_feed", "hall_on_feed", "loop_on_feed")
UNDOABLE = (
    "hall_setpoint_c", "loop_setpoint_c", "chiller_phase", "pump_off", "link_phase", "link_until_ms", *FEEDS,
)  # fmt: skip
ALL = np.zeros(1, dtype=np.int64)  # the emulated site is one member: row 0


class Commands:
    """What the scheduler and the plant controls of the emulated site accept."""

    def __init__(self, engine: Engine) -> None:
        """Start with no command and epoch 0."""
        self.engine = engine
        self.epoch = 0
        self.receipts: dict[str, Answer] = {}
        self.content: dict[str, str] = {}
        self.pending: dict[str, tuple[int, list[int]]] = {}  # target hall (-1: a drain) and jobs
        self.log: list[tuple[int, str, str]] = []
        self.marks: dict[str, dict[str, tuple[float, Flags]]] = {"cordon": {}, "cap": {}}
        self.changed: dict[str, dict[tuple[str, int], tuple[float, float]]] = {}  # what was and what we set
        self.job_index = {name: j for j, name in enumerate(engine.state.jobs.ids)}
        self.node_index = {name: i for i, name in enumerate(engine.site.node_ids)}
        self.verbs: dict[str, Callable[[str, Answer], tuple[str, str]]] = {
            "cordon": self._cordon, "uncordon": self._uncordon, "cap": self._cap, "uncap": self._uncap,
            "move": self._move, "drain": self._drain, "requeue": self._requeue, "hold_job": self._hold,
            "plant": self._plant, "undo_plant": self._undo_plant, "plant_cannot": self._cannot,
            "plant_refused": lambda key, args: ("rejected", str(args["why"])),
        }  # fmt: skip

    def fence(self, epoch: int) -> bool:
        """Take a new epoch; False when a newer one has been seen."""
        if epoch < self.epoch:
            return False
        self.epoch = epoch
        return True

    def call(self, verb: str, key: str, epoch: int, args: Answer) -> Answer:
        """Obey one command once; the same key answers the same receipt; an old epoch or other content is refused."""
        content = json.dumps([verb, args], sort_keys=True)
        if not self.fence(epoch):
            return self._answer(key, "rejected", f"epoch {epoch} is older than {self.epoch}", "fenced")
        if key in self.receipts:
            if self.content[key] != content:
                return self._answer(key, "rejected", "this key was used for another call", "key_reused")
            return self.receipts[key]
        try:
            status, detail = self.verbs[verb](key, args)
        except (ForetwinError, KeyError, ValueError) as error:
            status, detail = "rejected", str(error)
        self.content[key], self.receipts[key] = content, self._answer(key, status, detail)
        if status != "rejected":
            self.log.append((self.engine.state.now_ms, verb, key))
        return self.receipts[key]

    def query(self, key: str) -> Answer | None:
        """Return what became of a call, None if it never arrived."""
        return self.receipts.get(key)

    def _answer(self, key: str, status: str, detail: str, code: str = "") -> Answer:
        return {"key": key, "status": status, "detail": detail, "at_ms": self.engine.state.now_ms, "code": code}

    def follow(self) -> None:
        """Turn accepted calls into done ones once all their jobs have got where they should."""
        s = self.engine.state
        for key, (hall, jobs) in list(self.pending.items()):
            busy = (s.job_target[0, jobs] >= 0) | (s.job_phase[0, jobs] == J.MOVING) | s.job_drain[0, jobs]
            busy &= s.job_phase[0, jobs] != J.DONE
            if not busy.any():
                status, detail = self._ended(hall, jobs) if hall >= 0 else ("done", self.receipts[key]["detail"])
                self.receipts[key] = {**self.receipts[key], "status": status, "detail": detail, "at_ms": s.now_ms}
                del self.pending[key]

    def _ended(self, hall: int, jobs: list[int]) -> tuple[str, str]:
        """Say how a move ended: how many jobs are in the hall and how many found no room there and stayed."""
        moved = sum(self._place_of(j) == hall for j in jobs)
        ended = sum(self._place_of(j) != hall and self.engine.state.job_phase[0, j] == J.DONE for j in jobs)
        detail = f"{moved} jobs moved to {self.engine.site.hall_ids[hall]}, {len(jobs) - moved - ended} stayed"
        detail += f", {ended} ended before" if ended else ""
        return ("done" if moved or ended == len(jobs) else "rejected"), detail

    def _place_of(self, j: int) -> int:
        """Return the hall that holds a job: its home, else where it runs; -1 where neither."""
        s = self.engine.state
        home, node = int(s.job_hall[0, j]), int(s.slot_node[0, s.jobs.slot_start[j]])
        return home if home >= 0 or node < 0 else int(self.engine.site.node_hall[node])

    @property
    def version(self) -> int:
        """A number that changes whenever a job changes its phase or its nodes."""
        s = self.engine.state
        return zlib.crc32(s.slot_node.tobytes(), zlib.crc32(s.job_phase.tobytes(), zlib.crc32(s.job_drain.tobytes())))

    def observe(self) -> list[Answer]:
        """List every job that has arrived and is not done, with what it asked for."""
        s, t = self.engine.state, self.engine.state.jobs
        live = np.flatnonzero((s.job_phase[0] > J.NOT_ARRIVED) & (s.job_phase[0] < J.DONE))
        start = t.slot_start.tolist()
        return [self._job(j, t, start[j], start[j + 1]) for j in live.tolist()]

    def _job(self, j: int, t: J.Jobs, first: int, last: int) -> Answer:
        s, site = self.engine.state, self.engine.site
        phase = PORT_PHASES[int(s.job_phase[0, j])]
        if phase == "running" and s.job_target[0, j] >= 0:
            phase = "moving"  # accepted: it waits for its turn and still holds its old nodes
        hall = int(s.job_hall[0, j])
        return {
            "id": t.ids[j], "job_class": t.kinds[j], "hall": site.hall_ids[hall] if hall >= 0 else "",
            "nodes": [site.node_ids[n] for n in s.slot_node[0, first:last] if n >= 0],
            "phase": "draining" if phase == "running" and s.job_drain[0, j] else phase,
            "priority": float(t.priority[j]), "width": int(t.width[j]), "share_frac": float(t.share_frac[j]),
            "gpus": float(t.gpus[j]), "state_gb": float(t.state_gb[j]), "checkpoint_s": float(t.checkpoint_s[j]),
            "restart_s": float(t.restart_s[j]), "arrived_ms": int(t.arrival_ms[j]),
            "started_ms": int(s.job_start_ms[0, j]),
            "unsaved_s": float(s.job_work_s[0, j] - J.saved_s(s, ALL, np.array([j]))[0]),
        }  # fmt: skip

    def nodes(self) -> list[Answer]:
        """List every node: up, who cordoned it, its cap, whether a job could have it whole."""
        s, site = self.engine.state, self.engine.site
        owners: list[list[str]] = [[] for _ in site.node_ids]
        for owner, (_, mask) in sorted(self.marks["cordon"].items()):
            for i in np.flatnonzero(mask):
                owners[i].append(owner)
        free = self._free()
        return [
            {"id": n, "hall": site.hall_ids[int(site.node_hall[i])], "up": bool(s.node_phase[0, i] == ON),
             "cordoned_by": owners[i], "cap_frac": float(s.node_cap_frac[0, i]), "free": bool(free[i]),
             "gpus": int(site.node_gpus[i])}
            for i, n in enumerate(site.node_ids)
        ]  # fmt: skip

    def _free(self) -> Flags:
        """Return the nodes that are up, not cordoned and without any job (N,)."""
        s, d = self.engine.state, self.engine.derived
        d.refresh()
        return np.asarray((s.node_phase[0] == ON) & ~s.node_cordon[0] & (d.used_frac[0] <= 0.0))

    def person_cordons(self, node: str, who: str) -> None:
        """A person takes a node out of service by hand; no call of a plan undoes that."""
        self._mark("cordon", f"person {who}", [node], 1.0)

    def _mask(self, nodes: list[str]) -> Flags:
        if not nodes:
            raise ValueError("no node is named; name at least one")
        mask = np.zeros(len(self.node_index), dtype=bool)
        for n in nodes:
            if n not in self.node_index:
                raise ValueError(f"no node '{n}'")
            mask[self.node_index[n]] = True
        return mask

    def _jobs(self, names: list[str]) -> list[int]:
        if not names:
            raise ValueError("no job is named; name at least one")
        unknown = [n for n in names if n not in self.job_index]
        if unknown:
            raise ValueError(f"no job '{unknown[0]}'")
        return [self.job_index[n] for n in names]

    def _refresh_marks(self) -> None:
        s = self.engine.state
        cordon = np.zeros(len(self.node_index), dtype=bool)
        for _, mask in self.marks["cordon"].values():
            cordon |= mask
        cap = np.ones(len(self.node_index))
        for value, mask in self.marks["cap"].values():
            cap = np.where(mask, np.minimum(cap, value), cap)
        s.node_cordon[0], s.node_cap_frac[0] = cordon, cap
        s.dispatch_due[...] = True
        self.engine.derived.mark()

    def _mark(self, kind: str, key: str, nodes: list[str], value: float) -> tuple[str, str]:
        mask = self._mask(nodes)
        owner = key.partition(":")[0]
        before = self.marks[kind].get(owner)
        self.marks[kind][owner] = (value, mask if before is None else mask | before[1])
        self._refresh_marks()
        return "done", f"{int(mask.sum())} nodes"

    def _unmark(self, kind: str, key: str, nodes: list[str]) -> tuple[str, str]:
        mask = self._mask(nodes)
        owner = key.partition(":")[0]
        value, mine = self.marks[kind].get(owner, (1.0, np.zeros_like(mask)))
        self.marks[kind][owner] = (value, mine & ~mask)
        self._refresh_marks()
        return "done", f"{int((mine & mask).sum())} of {int(mask.sum())} nodes were ours"

    def _cordon(self, key: str, args: Answer) -> tuple[str, str]:
        return self._mark("cordon", key, args["nodes"], 1.0)

    def _uncordon(self, key: str, args: Answer) -> tuple[str, str]:
        return self._unmark("cordon", key, args["nodes"])

    def _cap(self, key: str, args: Answer) -> tuple[str, str]:
        cap_frac = float(args["cap_frac"])
        if not 0.3 <= cap_frac <= 1.0:
            raise ValueError(f"cap_frac {cap_frac:g}, allowed 0.3 to 1.0")
        return self._mark("cap", key, args["nodes"], cap_frac)

    def _uncap(self, key: str, args: Answer) -> tuple[str, str]:
        return self._unmark("cap", key, args["nodes"])

    def _move(self, key: str, args: Answer) -> tuple[str, str]:
        jobs, s = self._jobs(args["jobs"]), self.engine.state
        hall, concurrent = self.engine.site.index("hall", str(args["to_hall"])), int(args["concurrent"])
        go, others = self._split(jobs, (J.WAITING, *AT_WORK))
        if not go:
            raise ValueError(f"none of these jobs runs or waits{others}")
        if concurrent < 1:
            raise ValueError(f"concurrent {concurrent}, allowed 1 or more")
        self._check_move(go, hall)
        mode = args.get("mode") or ""
        if mode and mode not in MODES:
            raise ValueError(f"mode '{mode}', allowed {' '.join(MODES)}")
        s.job_mode[0, go] = MODES.index(mode) if mode else s.jobs.move_mode[go]
        s.job_target[0, go] = hall
        s.move_limit[0] = concurrent
        self.engine.derived.mark(load=True)
        self.pending[key] = hall, go
        return "accepted", f"{len(go)} of {len(jobs)} jobs will move to {args['to_hall']}{others}"

    def _split(self, jobs: list[int], phases: tuple[int, ...]) -> tuple[list[int], str]:
        """Return the jobs in these phases, and the others in words: "; not so: a (held)"; nothing if there are none."""
        s = self.engine.state
        go = [j for j in jobs if s.job_phase[0, j] in phases]
        others = [f"{s.jobs.ids[j]} ({J.PHASE_NAMES[s.job_phase[0, j]]})" for j in jobs if j not in go]
        return go, f"; left as they are: {', '.join(others)}" if others else ""

    def _check_move(self, go: list[int], hall: int) -> None:
        """Refuse a move without link or room: whole free nodes, with and without accelerators apart, less promises."""
        s, t, site = self.engine.state, self.engine.state.jobs, self.engine.site
        coming = [j for j in go if self._place_of(j) != hall]
        for j in coming:
            place = self._place_of(j)
            if place >= 0 and site.link_gb_per_s[place, hall] <= 0.0:
                raise ValueError(f"no link leads from {site.hall_ids[place]} to {site.hall_ids[hall]} ({t.ids[j]})")
        waits = np.isin(s.job_phase[0], (J.WAITING, *AT_WORK, J.HELD)) & (s.job_target[0] == hall)
        promised = np.setdiff1d(np.flatnonzero(waits), go)
        free = self._free() & (site.node_hall == hall)
        for gpu, what in ((False, "without"), (True, "with")):
            room = int((free & ((site.node_gpus > 0) == gpu)).sum())
            kept = int(t.width[[j for j in promised if (t.gpus[j] > 0) == gpu]].sum())
            need = int(t.width[[j for j in coming if (t.gpus[j] > 0) == gpu]].sum())
            if need and need > room - kept:
                raise ValueError(
                    f"no room in {site.hall_ids[hall]}: {need} nodes {what} accelerators wanted,"
                    f" {room} free, {kept} of them promised"
                )

    def _drain(self, key: str, args: Answer) -> tuple[str, str]:
        jobs, s = self._jobs(args["jobs"]), self.engine.state
        go, others = self._split(jobs, AT_WORK)
        s.job_drain[0, go] = True
        self.pending[key] = -1, go
        return "accepted", f"{len(go)} of {len(jobs)} jobs stop at their next checkpoint{others}"

    def _requeue(self, key: str, args: Answer) -> tuple[str, str]:
        jobs, d = self._jobs(args["jobs"]), self.engine.derived
        d.refresh()
        go, others = self._split(jobs, AT_WORK)
        requeue(d, np.zeros(len(go), dtype=np.int64), np.asarray(go, dtype=np.int64))
        return "done", f"{len(go)} of {len(jobs)} jobs back in the queue{others}"

    def _hold(self, key: str, args: Answer) -> tuple[str, str]:
        jobs, s = self._jobs(args["jobs"]), self.engine.state
        was, now = (J.WAITING, J.HELD) if args.get("held", True) else (J.HELD, J.WAITING)
        go, others = self._split(jobs, (was,))
        s.job_phase[0, go] = now
        s.dispatch_due[...] = True
        self.engine.derived.mark(load=True)
        return "done", f"{len(go)} of {len(jobs)} jobs {'held' if now == J.HELD else 'released'}{others}"

    def _plant(self, key: str, args: Answer) -> tuple[str, str]:
        step = Action.from_dict(args["step"])
        check_plant_step(self.engine.site, step)
        s = self.engine.state
        before = {name: s.arrays[name][0].copy() for name in UNDOABLE}
        effects.perform(self.engine, step, ALL, effects.nodes_in(self.engine.site, step.scope), s.now_ms)
        changed = {
            (name, int(i)): (float(before[name][i]), float(s.arrays[name][0, i]))
            for name in UNDOABLE
            for i in np.flatnonzero(s.arrays[name][0] != before[name])
        }
        if not changed and nothing_done(step):
            raise ValueError(nothing_done(step))
        if step.kind == "transfer_feed":
            self.engine.derived.mark_supply()
        self.changed[key] = changed
        return "done", f"{step.kind}: {len(changed)} changed"

    def _undo_plant(self, key: str, args: Answer) -> tuple[str, str]:
        mine = self.changed.pop(str(args["of_key"]), None)
        if mine is None:
            return "done", "nothing was done, nothing to undo"
        back = sum(self._put_back(at, *values) for at, values in mine.items())
        self.engine.derived.mark_supply()
        touched(self.engine.derived, ALL)
        return "done", f"{back} of {len(mine)} changes put back; the others were changed again since"

    def _put_back(self, at: tuple[str, int], was: float, ours: float) -> bool:
        """Put one component back if it still stands as the call left it; else a later change goes back further."""
        array, i = self.engine.state.arrays[at[0]], at[1]
        started = at[0] == "chiller_phase" and array[0, i] == CHILLER_ON
        if array[0, i] == ours or started:
            array[0, i] = was
            return True
        for later in self.changed.values():
            if at in later and later[at][0] == ours:
                later[at] = was, later[at][1]
                break
        return False

    def _cannot(self, key: str, args: Answer) -> tuple[str, str]:
        return "rejected", f"{args['what']} is not emulated"
