"""A database that forgets what it confirmed gets it again, however tears, restarts and lost replies fall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plant.errors import StoreUnavailable
from twin.telemetry import confirmed, influx_sender
from twin.telemetry.confirmed import Confirmed
from twin.telemetry.influx_lane import Waiting
from twin.telemetry.influx_query import Address
from twin.telemetry.influx_sender import Account, Sender
from twin.telemetry.probe import Probe
from twin.telemetry.spool import Spool

ADDRESS = Address.of("http://127.0.0.1:1", "db", "")
TORN = None
_MS = 1_000_000
# What may become of a write: kept and confirmed; kept, but the reply is lost; not even begun; torn in the middle by a
# full disk; and the last three with the server dead after it.
OUTCOMES = ("kept", "reply lost", "not begun", "torn", "kept, then dead", "not begun, then dead", "torn, then dead")


class TornLog:
    """InfluxDB 1.6.7 as it was observed: what its log (segments of entries, some torn) gives back after a start."""

    def __init__(self, says_started: bool) -> None:
        self.says_started = says_started
        self.segments: list[list[dict[tuple[str, int], float] | None]] = [[]]
        self.shown: dict[tuple[str, int], float] = {}
        self.starts, self.dead, self.stuck = 1, False, False
        self.outcomes: list[str] = []

    def restart(self) -> None:
        self.dead = self.stuck = False
        self.starts += 1
        self.shown = {}
        for segment in self.segments:
            if TORN in segment:
                # The file is cut there, but the newest goes on being written at its old end: a hole, torn for ever.
                del segment[segment.index(TORN) + (segment is self.segments[-1]) :]
            for entry in segment:
                self.shown |= entry or {}

    def tear(self) -> None:
        """Somebody else's write met a full disk; it is free again, the log is not."""
        self.segments[-1] += [] if self.stuck else [TORN]
        self.stuck = True

    def roll(self) -> None:
        if not self.stuck:
            self.segments.append([])

    def snapshot(self) -> None:
        """All that is shown goes into a file of its own, and the log begins anew."""
        if not self.stuck:
            self.segments = [[dict(self.shown)], []]

    def write(self, bucket: str, record: bytes) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes and not self.dead else "kept"
        if self.dead or outcome.startswith("not begun"):
            self.dead |= outcome.endswith("dead")
            raise StoreUnavailable("here", "no answer")
        entry = {(p.field, p.time_ns): _value(line) for line in record.splitlines() if (p := Probe.of(line))}
        self.shown |= entry
        if not self.stuck:
            self.segments[-1].append(TORN if outcome.startswith("torn") else entry)
        self.stuck |= outcome.startswith("torn")
        self.dead |= outcome.endswith("dead")
        if self.stuck or outcome != "kept":
            raise StoreUnavailable("here", "500")

    def started(self) -> str | None:
        return str(self.starts) if self.says_started and not self.dead else None

    def series(self, statement: str) -> list[dict[str, Any]]:
        if self.dead:
            raise StoreUnavailable("here", "no answer")
        field, time_ns = statement.split('"')[1], int(statement.rsplit(" ", 1)[1])
        return [{}] if (field, time_ns) in self.shown else []


def _value(line: bytes) -> float:
    return float(line.split(b" ")[1].split(b"=")[1])


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(st.sampled_from(OUTCOMES), max_size=3)),
        st.tuples(st.just("write"), st.just([])),
        st.tuples(st.just("correct"), st.lists(st.sampled_from(OUTCOMES), max_size=2)),
        st.tuples(st.sampled_from(("restart", "tear", "roll", "snapshot", "queue", "new process")), st.just([])),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_what_was_acknowledged_is_there_in_the_end_however_the_log_tears(
    actions: list[tuple[str, list[str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        log, sent = live(actions, tmp_path_factory.mktemp("spool"), patch)
    assert {k: v for k, v in log.shown.items() if k[0] == "x"} == sent


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("write: reply lost, tear, restart, write, roll, write", id="kept before though not confirmed"),
        pytest.param("write, tear, restart, correct, roll, write", id="a correction shows as what it corrects"),
        pytest.param("write, tear, restart, write, restart, write, roll, write, restart", id="torn once, cut twice"),
        pytest.param("write, tear, restart, write: not begun, write, roll, write", id="a start that was no start"),
        pytest.param(
            "write, tear, restart, write, write, write, roll, write, restart, write: kept+not begun, write",
            id="sending again is interrupted",
        ),
        pytest.param(
            "write, tear, restart, write, write, roll, write, restart, write: kept+not begun, new process, write",
            id="we die over it",
        ),
        pytest.param("write, tear, restart, write, new process, roll, write, new process", id="we die, it forgets"),
    ],
)
def test_such_lives_lose_nothing(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influx_sender, "GROUP_BYTES", 1)
    actions = [
        (what, outcome.split("+") if outcome else [])
        for what, _, outcome in (w.partition(": ") for w in words.split(", "))
    ]
    log, sent = live(actions, tmp_path, monkeypatch)
    assert {k: v for k, v in log.shown.items() if k[0] == "x"} == sent


def test_a_mark_outlives_the_block_that_it_went_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a life that was cut off comes back, though its first block is kept no more."""
    monkeypatch.setattr(confirmed, "KEPT_BLOCKS", 4)
    lived = ["write", "tear", "restart", *["write"] * 5, "roll", "write"]
    log, sent = live([(what, []) for what in lived], tmp_path, monkeypatch)
    assert {reading: log.shown.get(reading) for reading in list(sent)[-4:]} == dict(list(sent.items())[-4:])


def test_a_start_is_not_overheard_because_the_database_did_not_say_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str | None] = ["1", None, "2"]
    monkeypatch.setattr(TornLog, "started", lambda self: said[0] if len(said) == 1 else said.pop(0))
    log, sent = live([(what, []) for what in ("write", "write", "write", "restart")], tmp_path, monkeypatch)
    assert len({time_ns for field, time_ns in log.shown if field == "block"}) >= 2, "a mark for each start"
    assert len(sent) == 4


def live(
    actions: list[tuple[str, list[str]]], folder: Path, patch: pytest.MonkeyPatch
) -> tuple[TornLog, dict[tuple[str, int], float]]:
    """Play the actions and come to rest; the database and what was given to it."""
    # Every write asks when the database was started: no restart fits between two of them.
    patch.setattr(influx_sender, "UNSEEN_S", -1.0)
    log, spool = TornLog(says_started=True), Spool(folder)

    def new_sender(lives: int) -> Sender:
        patch.setattr(influx_sender.os, "getpid", lambda: 1_000 + lives)
        return Sender(0, ADDRESS, log, log, spool, Confirmed(spool, spool.sent()), Account())  # type: ignore[arg-type]

    sender = new_sender(0)
    sent: dict[tuple[str, int], float] = {}
    queue: list[Waiting] = []
    # A process that never writes asks for nothing: the last one does.
    for n, (what, outcomes) in enumerate([*actions, ("restart", []), ("write", []), ("restart", [])], 1):
        if what in ("write", "correct", "queue"):
            time_ns = max((t for _, t in sent), default=_MS) if what == "correct" else n * _MS
            sent["x", time_ns] = float(n)
            line = f"node,component=c,site=s x={n} {time_ns}\n".encode()
            queue.append(Waiting(spool.put(line, 1), line))
        elif what == "new process":
            sender = new_sender(n)
        else:
            getattr(log, what)()
        log.outcomes = list(outcomes)
        if what != "queue" and queue and sender.deliver(queue) is None:
            queue.clear()
    sender.settle()
    return log, sent


@pytest.mark.parametrize(
    "line, found",
    [
        (b"node,component=a/b,site=hk power_kw=1.5,power_kw_ok=1 7", ("node", "power_kw", 7)),
        (b'event,component=x,site=hk,type=alarm text="it is hot" 8', ("event", "text", 8)),
        (b"risk,component=x,kind=rack,site=hk act=0.0,age_s=1.0 9", ("risk", "act", 9)),
        (b"node,component=a,site=hk power_kw_ok=0 7", None),
        (b'event,component=x,site=hk,type=a text="a \\" b" 8', None),
        (b"", None),
    ],
)
def test_what_one_can_ask_by(line: bytes, found: tuple[str, str, int] | None) -> None:
    probe = Probe.of(line + b"\n")
    assert (probe and (probe.measurement, probe.field, probe.time_ns)) == found
