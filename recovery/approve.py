"""Who may decide what: the rules of approval, pure. The ledger applies them inside the transaction that records it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from recovery import guards
from recovery.guards import Verdict, no
from recovery.states import PlanState

AUTHOR = "foretwin"
"""The author of every plan it proposes; it may not approve its own dangerous ones."""
POLICY = "policy"
"""The identity under which a site's autonomy setting grants an approval without a person."""

Autonomy = Literal["observe", "propose", "act_reversible", "act"]
GRANTED_TIER: dict[Autonomy, int] = {"observe": -1, "propose": -1, "act_reversible": 1, "act": 2}
"""The highest step tier the setting approves by itself; tier 3 always takes people."""
AUTHOR_TIER = 1
MAX_NAME = 200
MAX_REASON = 2_000
Choice = Literal["approve", "reject"]


@dataclass(frozen=True)
class Request:
    """A decision asked for, with the facts it is judged by."""

    what: str
    who: str
    reason: str
    now_ms: int
    autonomy: Autonomy
    state: PlanState
    tier: int
    expires_ms: int
    hash_ok: bool
    approvers: tuple[str, ...] = ()
    out_of_sync: str = ""
    """Where the twin did not follow the site when the plan was rehearsed, and how far off it was."""


def same_person(one: str, other: str) -> bool:
    """Names are compared as a reader would: neither case, width nor spaces make another person."""
    return _plain(one) == _plain(other)


def approvals_needed(tier: int) -> int:
    """How many distinct approvers a plan of this step tier takes."""
    return 2 if tier >= 3 else 1


def is_person(who: str) -> bool:
    """Neither the program itself nor its policy."""
    return not same_person(who, AUTHOR) and not same_person(who, POLICY)


def by_person(approvers: Sequence[str]) -> bool:
    """Did at least one person approve?"""
    return any(is_person(who) for who in approvers)


def may_decide(ask: Request) -> Verdict:
    """Every reason against a decision, or yes."""
    reasons = list(_form(ask))
    if ask.state not in (("rehearsed",) if ask.what == "approve" else ("proposed", "rehearsed")):
        # "already decided" is the answer to a double click and to the second of two people
        reasons.append(f"already decided: the plan is {ask.state}" if ask.state != "proposed" else "not rehearsed yet")
    if ask.what == "approve":
        reasons += _against_approval(ask)
    return no(*reasons) if reasons else guards.YES


def _form(ask: Request) -> list[str]:
    reasons = []
    if ask.what not in ("approve", "reject"):
        reasons.append(f"{ask.what!r} is neither approve nor reject")
    if not _plain(ask.who) or len(ask.who) > MAX_NAME:
        reasons.append("no identity given" if not _plain(ask.who) else "the name is too long")
    if not ask.reason.strip() or len(ask.reason) > MAX_REASON:
        reasons.append("no reason given" if not ask.reason.strip() else "the reason is too long")
    return reasons


def _against_approval(ask: Request) -> list[str]:
    reasons = list(guards.expiry(ask.now_ms, ask.expires_ms).reasons)
    if not ask.hash_ok:
        reasons.append("the stored content does not match the plan's id")
    if ask.out_of_sync:
        reasons.append(f"the twin did not follow the site when this was rehearsed: {ask.out_of_sync}")
    if ask.autonomy == "observe":
        reasons.append("the site's autonomy is observe: nothing is executed")
    if same_person(ask.who, AUTHOR) and (ask.tier > AUTHOR_TIER or ask.tier > GRANTED_TIER[ask.autonomy]):
        reasons.append(f"the author may not approve its own plan of tier {ask.tier}")
    if same_person(ask.who, POLICY) and ask.tier > GRANTED_TIER[ask.autonomy]:
        reasons.append(f"autonomy {ask.autonomy} does not grant tier {ask.tier}")
    if any(same_person(ask.who, earlier) for earlier in ask.approvers):
        reasons.append("two distinct people must approve this tier")
    return reasons


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
