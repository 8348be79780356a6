"""PlantPort: what Foretwin may ask of the building, and the work order, where a person does it and confirms.

The same laws as SchedulerPort: a key names one call, an older epoch is refused, `query(key)` tells what became of it.
`undo(of_key)` puts back what that call changed and nothing else; undoing a call that never arrived is done at once.
No real plant is written to by default: the work order is the default implementation.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from recovery import audit
from recovery.approve import AUTHOR, is_person
from recovery.guards import YES, Verdict, no
from recovery.ledger import Ledger
from recovery.rows import read_meta
from scheduler.port import Receipt, ReceiptStatus

SetPoint = Literal["supply_c", "fan_frac"]


class PlantPort(Protocol):
    """See the module. Components are ids; `supply_c` in °C, `fan_frac` a fraction of full speed."""

    def fence(self, epoch: int) -> bool: ...

    def set_point(self, key: str, epoch: int, components: Sequence[str], name: SetPoint, value: float) -> Receipt: ...

    def feed(self, key: str, epoch: int, components: Sequence[str], to_feed: str) -> Receipt: ...

    def link(self, key: str, epoch: int, links: Sequence[str], enabled: bool) -> Receipt: ...

    def standby(self, key: str, epoch: int, units: Sequence[str], on: bool) -> Receipt: ...

    def power(self, key: str, epoch: int, components: Sequence[str], on: bool) -> Receipt: ...

    def undo(self, key: str, epoch: int, of_key: str) -> Receipt: ...

    def query(self, key: str) -> Receipt | None: ...


class WorkOrderPlant:
    """A PlantPort that writes each call as a work order into the ledger; the receipt is a person's confirmation."""

    def __init__(self, ledger: Ledger, now_ms: Callable[[], int]) -> None:
        self._ledger, self._now_ms = ledger, now_ms

    def fence(self, epoch: int) -> bool:
        with self._ledger.transaction() as db:
            return _fence(db, epoch)

    def set_point(self, key: str, epoch: int, components: Sequence[str], name: SetPoint, value: float) -> Receipt:
        unit = "°C" if name == "supply_c" else "of full speed"
        return self._order(key, epoch, components, f"set {name} to {value:g} {unit}")

    def feed(self, key: str, epoch: int, components: Sequence[str], to_feed: str) -> Receipt:
        return self._order(key, epoch, components, f"transfer to feed {to_feed}")

    def link(self, key: str, epoch: int, links: Sequence[str], enabled: bool) -> Receipt:
        return self._order(key, epoch, links, "enable the link" if enabled else "disable the link")

    def standby(self, key: str, epoch: int, units: Sequence[str], on: bool) -> Receipt:
        return self._order(key, epoch, units, "start the standby unit" if on else "return the unit to standby")

    def power(self, key: str, epoch: int, components: Sequence[str], on: bool) -> Receipt:
        return self._order(key, epoch, components, "switch on" if on else "switch off")

    def undo(self, key: str, epoch: int, of_key: str) -> Receipt:
        with self._ledger.transaction() as db:
            if not _fence(db, epoch):
                return _fenced(key, epoch, self._now_ms())
            row = db.execute("SELECT content, status FROM work_orders WHERE key = ?", (of_key,)).fetchone()
            asked = json.loads(row[0]) if row else {"do": "nothing", "components": []}
            order = {**asked, "do": f"undo: {asked['do']}", "of": of_key}
            if row is None or row[1] == "rejected":
                # the same key again after the order below was withdrawn: `_place` answers what it answered then
                return self._place(db, key, epoch, order, "done", "nothing was done, nothing to undo")
            if row[1] == "accepted":
                # nobody confirmed it: withdraw it, and have someone make sure that it was not begun
                db.execute("UPDATE work_orders SET status = 'rejected', detail = 'withdrawn' WHERE key = ?", (of_key,))
            return self._place(db, key, epoch, order, "accepted", "waits for a person")

    def query(self, key: str) -> Receipt | None:
        with self._ledger.transaction() as db:
            return _receipt(db, key)

    def _order(self, key: str, epoch: int, components: Sequence[str], do: str) -> Receipt:
        if not components:
            return Receipt(key, "rejected", "no component named", self._now_ms())
        with self._ledger.transaction() as db:
            content = {"do": do, "components": list(components)}
            return self._place(db, key, epoch, content, "accepted", "waits for a person")

    def _place(
        self,
        db: sqlite3.Connection,
        key: str,
        epoch: int,
        content: Mapping[str, object],
        status: ReceiptStatus,
        detail: str,
    ) -> Receipt:
        at_ms = self._now_ms()
        if not _fence(db, epoch):
            return _fenced(key, epoch, at_ms)
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        old = db.execute("SELECT content FROM work_orders WHERE key = ?", (key,)).fetchone()
        if old is not None and old[0] != text:
            return Receipt(key, "rejected", "this key was used for another order", at_ms, "key_reused")
        if old is None:
            db.execute("INSERT INTO work_orders VALUES (?, ?, ?, ?, ?, '')", (key, text, status, detail, at_ms))
            audit.append(db, at_ms, AUTHOR, "work order", key.partition(":")[0], "", status, f"{key} {text}")
        return _receipt(db, key) or Receipt(key, "unknown", "", at_ms)


def open_orders(ledger: Ledger) -> list[tuple[str, str, list[str], int]]:
    """Orders that wait for a person: (key, what to do, components, Unix ms when asked)."""
    with ledger.transaction() as db:
        rows = db.execute("SELECT key, content, at_ms FROM work_orders WHERE status = 'accepted' ORDER BY at_ms, key")
        return [(key, json.loads(text)["do"], json.loads(text)["components"], at_ms) for key, text, at_ms in rows]


def confirm(ledger: Ledger, key: str, who: str, done: bool, words: str, now_ms: int) -> Verdict:
    """A person states that an order was carried out, or that it cannot be (with a reason)."""
    key, who, words = map(audit.printable, (key, who, words))
    with ledger.transaction() as db:
        found = _receipt(db, key)
        verdict = YES
        if found is None or found.status != "accepted":
            verdict = no("no such open order")
        elif not who.strip() or not is_person(who) or not (done or words.strip()):
            verdict = no("a person's name, and for a refusal a reason, are needed")
        after = "done" if done else "rejected"
        if verdict.ok:
            sql = "UPDATE work_orders SET status = ?, detail = ?, at_ms = ?, who = ? WHERE key = ?"
            db.execute(sql, (after, words, now_ms, who, key))
        what = "work order confirmed" if verdict.ok else "refused"
        detail = f"{key} {words}" if verdict.ok else f"confirm {key}: {verdict.reasons[0]}"
        audit.append(db, now_ms, who[:200], what, key.partition(":")[0][:64], "accepted", after, detail[:2000])
        return verdict


def _fenced(key: str, epoch: int, at_ms: int) -> Receipt:
    return Receipt(key, "rejected", f"epoch {epoch} is too old", at_ms, "fenced")


def _fence(db: sqlite3.Connection, epoch: int) -> bool:
    newest = int(read_meta(db, "work_order_epoch") or 0)
    if epoch < newest:
        return False
    db.execute("INSERT OR REPLACE INTO meta VALUES ('work_order_epoch', ?)", (str(epoch),))
    return True


def _receipt(db: sqlite3.Connection, key: str) -> Receipt | None:
    row = db.execute("SELECT status, detail, at_ms FROM work_orders WHERE key = ?", (key,)).fetchone()
    return None if row is None else Receipt(key, row[0], row[1], row[2])
