"""Actions and plans: frozen, typed, hashed. A plan is data; any edit makes another plan with another id."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from plant.action_kinds import KINDS, RULES, WAIT_PARAMS, ActionKind, KindRule, ParamRule, ParamValue
from plant.errors import PlanRejected

PLAN_SCHEMA = 1
DO_NOTHING = "do_nothing"
# Bounds that keep a malformed or hostile plan from filling memory; a hall has about a thousand nodes.
MAX_STEPS = 64
MAX_SCOPE = 100_000
MAX_TEXT = 500
MAX_NUMBER = 1e300
# "take the kind's own value": a number so that readers never meet None
OF_KIND = -1


def _refuse(where: str, found: str, allowed: str = "", cure: str = "") -> PlanRejected:
    return PlanRejected(where, found, allowed, cure)


def _text(where: str, value: object, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value or empty):
        raise _refuse(where, f"{str(value)[:60]!r}", f"text of {0 if empty else 1} to {MAX_TEXT} characters")
    # surrogates cannot be written as UTF-8, so the plan could be neither hashed nor stored
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise _refuse(where, f"control characters in {value[:60]!a}", "printable text")
    return value


def _finite(where: str, value: object, low: float | None, high: float | None) -> float:
    # compared before converted: a huge whole number cannot become a float, and NaN compares false
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
        raise _refuse(where, f"{str(value)[:40]}", "a finite number")
    if (low is not None and value < low) or (high is not None and value > high):
        raise _refuse(where, f"{value:g}", f"from {low if low is not None else '-inf'} to {high}")
    return float(value)


def _param(where: str, rule: ParamRule, value: object) -> ParamValue:
    if rule.type is str:
        text = _text(where, value)
        if rule.words and text not in rule.words:
            raise _refuse(where, repr(text), rule.allowed)
        return text
    number = _finite(where, value, rule.low, rule.high)
    if rule.type is float:
        return number + 0.0  # -0.0 and 0.0 are one value and must have one hash
    if number != int(number):
        raise _refuse(where, f"{value!r}", rule.allowed)
    return int(number)


def _rule(kind: object) -> KindRule:
    if kind not in KINDS:
        raise _refuse("action.kind", f"{str(kind)[:60]!r}", "one of " + ", ".join(KINDS))
    return RULES[kind]


def _params(kind: str, rule: KindRule, given: Iterable[tuple[str, object]]) -> tuple[tuple[str, ParamValue], ...]:
    pairs = list(given)
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise _refuse(f"{kind}.params", "a parameter is given twice", "each parameter once")
    known = {**rule.params, **WAIT_PARAMS}
    for name in names:
        if name not in known:
            raise _refuse(f"{kind}.{str(name)[:60]}", "unknown parameter", "one of " + ", ".join(sorted(known)))
    values = {name: _param(f"{kind}.{name}", known[name], value) for name, value in pairs}
    for name, one in rule.params.items():
        if one.required and name not in values:
            raise _refuse(f"{kind}.{name}", "missing", one.allowed, one.meaning)
        if one.default is not None:
            values.setdefault(name, one.default)  # the canonical form states everything that will happen
    if rule.one_of and not any(name in values for name in rule.one_of):
        raise _refuse(f"{kind}.params", "nothing to set", "at least one of " + ", ".join(rule.one_of))
    return tuple(sorted(values.items()))


def _scope(kind: str, scope: object) -> tuple[str, ...]:
    if isinstance(scope, str) or not isinstance(scope, tuple | list):
        raise _refuse(f"{kind}.scope", f"{type(scope).__name__}", "a list of component ids")
    # "nothing named" must never come to mean "everything"
    if not scope:
        raise _refuse(f"{kind}.scope", "empty", "at least one component id", "name the components, or make no step")
    if len(scope) > MAX_SCOPE:
        raise _refuse(f"{kind}.scope", f"{len(scope)} components", f"at most {MAX_SCOPE}")
    ids = tuple(_text(f"{kind}.scope", one) for one in scope)
    if len(set(ids)) != len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise _refuse(f"{kind}.scope", f"{twice!r} twice", "each component once")
    return ids


def within(component: str, scope: str) -> bool:
    """Is `component` the component `scope` or a part of it? Ids are paths, so this is a prefix question."""
    return component == scope or component.startswith(scope + "/")


@dataclass(frozen=True)
class Action:
    """One typed step. `params` are sorted (name, value) pairs with the kind's defaults filled in.

    `timeout_s` and `tier` default to the kind's; a tier may be raised, never lowered.
    Raises PlanRejected with the offending field.

    >>> Action("cap_power", ("hk/c",), (("cap_frac", 0.6),)).tier
    2
    """

    kind: ActionKind
    scope: tuple[str, ...]
    params: tuple[tuple[str, ParamValue], ...] = ()
    timeout_s: float = OF_KIND
    tier: int = OF_KIND

    def __post_init__(self) -> None:
        rule = _rule(self.kind)
        scope, params = _scope(self.kind, self.scope), _params(self.kind, rule, self.params)
        timeout_s = rule.timeout_s if self.timeout_s == OF_KIND else self.timeout_s
        tier = rule.tier if self.tier == OF_KIND else self.tier
        if isinstance(tier, bool) or not isinstance(tier, int) or not rule.tier <= tier <= 3:
            raise _refuse(f"{self.kind}.tier", f"{tier!r}", f"{rule.tier} to 3", "a step is no safer than its kind")
        object.__setattr__(self, "scope", scope)
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "timeout_s", _finite(f"{self.kind}.timeout_s", timeout_s, 1.0, 604_800.0))
        object.__setattr__(self, "tier", tier)
        target = self.get("to_hall")
        if target is not None and any(within(one, str(target)) for one in scope):
            raise _refuse(f"{self.kind}.to_hall", f"{target!r} is where the jobs already run", "another hall")

    @classmethod
    def of(cls, kind: ActionKind, scope: Iterable[str], **params: ParamValue) -> Action:
        """Build an action from keyword parameters: `Action.of("migrate", ["hk/c"], to_hall="hk/b")`."""
        return cls(kind, tuple(scope), tuple(params.items()))

    def get(self, name: str, default: ParamValue | None = None) -> ParamValue | None:
        """The value of one parameter, or `default`."""
        return dict(self.params).get(name, default)

    @property
    def precondition(self) -> str:
        return RULES[self.kind].precondition

    @property
    def postcondition(self) -> str:
        return RULES[self.kind].postcondition

    @property
    def compensation(self) -> str | None:
        """The verb that undoes the step; None where nothing can be or need be undone."""
        return RULES[self.kind].compensation

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as the canonical JSON writes it."""
        return {
            "kind": self.kind,
            "scope": list(self.scope),
            "params": dict(self.params),
            "timeout_s": self.timeout_s,
            "tier": self.tier,
        }

    @classmethod
    def from_dict(cls, data: object) -> Action:
        """The inverse of `as_dict`; unknown, missing and ill-typed fields are refused."""
        fields = _fields("action", data, ("kind", "scope", "params", "timeout_s", "tier"))
        if not isinstance(fields["params"], Mapping):
            raise _refuse("action.params", type(fields["params"]).__name__, "an object of name: value")
        _rule(fields["kind"])
        scope = _scope(str(fields["kind"]), fields["scope"])
        return cls(fields["kind"], scope, tuple(fields["params"].items()), fields["timeout_s"], fields["tier"])


def _fields(where: str, data: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise _refuse(where, type(data).__name__, "an object")
    missing, extra = sorted(set(names) - set(data)), sorted(str(k)[:60] for k in set(data) - set(names))
    if missing or extra:
        what = "; ".join(
            f"{word} {', '.join(keys)}" for word, keys in (("missing", missing), ("unknown", extra)) if keys
        )
        raise _refuse(where, what, "exactly " + ", ".join(names))
    return dict(data)


def _evidence(given: object) -> tuple[tuple[str, ParamValue], ...]:
    if not isinstance(given, tuple | list):
        raise _refuse("plan.evidence", type(given).__name__, "pairs of name and value")
    pairs: dict[str, ParamValue] = {}
    for name, value in given:
        key = _text("plan.evidence", name)
        if key in pairs:
            raise _refuse(f"plan.evidence.{key}", "given twice", "each name once")
        is_text = isinstance(value, str)
        pairs[key] = _text(f"plan.evidence.{key}", value, empty=True) if is_text else _number(key, value)
    return tuple(sorted(pairs.items()))


def _number(key: str, value: object) -> float:
    return _finite(f"plan.evidence.{key}", value, None, None) + 0.0


@dataclass(frozen=True)
class Plan:
    """Ordered steps with cause, evidence, the snapshot and policy they were judged under, and an expiry.

    Times are Unix milliseconds. `id` is the first 16 hex digits of the SHA-256 of the canonical JSON: the same content
    has the same id, an edit has another. Raises PlanRejected with the offending field.
    """

    label: str
    steps: tuple[Action, ...]
    cause: str
    evidence: tuple[tuple[str, ParamValue], ...] = field(default=())
    snapshot_hash: str = ""
    policy_hash: str = ""
    created_ms: int = 0
    expires_ms: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        object.__setattr__(self, "evidence", _evidence(self.evidence))
        for name in ("label", "cause"):
            _text(f"plan.{name}", getattr(self, name))
        for name in ("snapshot_hash", "policy_hash"):
            _text(f"plan.{name}", getattr(self, name), empty=True)
        self._check_steps()
        for name in ("created_ms", "expires_ms"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
                raise _refuse(f"plan.{name}", f"{value!r}", "Unix time as whole milliseconds")
        if self.expires_ms <= self.created_ms:
            raise _refuse("plan.expires_ms", f"{self.expires_ms} ms", f"later than created_ms, {self.created_ms} ms")

    def _check_steps(self) -> None:
        if len(self.steps) > MAX_STEPS:
            raise _refuse("plan.steps", f"{len(self.steps)} steps", f"at most {MAX_STEPS}")
        if not all(isinstance(step, Action) for step in self.steps):
            raise _refuse("plan.steps", "something that is not an action", "actions")
        if (not self.steps) != (self.label == DO_NOTHING):
            raise _refuse(
                "plan.steps", f"{len(self.steps)} steps under the label {self.label!r}", f"no step: {DO_NOTHING}"
            )
        if len({(step.kind, step.scope, step.params) for step in self.steps}) != len(self.steps):
            raise _refuse("plan.steps", "the same step twice", "each step once")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as the canonical JSON writes it."""
        return {
            "schema": PLAN_SCHEMA,
            "label": self.label,
            "steps": [step.as_dict() for step in self.steps],
            "cause": self.cause,
            "evidence": dict(self.evidence),
            "snapshot_hash": self.snapshot_hash,
            "policy_hash": self.policy_hash,
            "created_ms": self.created_ms,
            "expires_ms": self.expires_ms,
        }

    @cached_property
    def canonical(self) -> str:
        """JSON with sorted keys, no spaces, finite numbers: the text that is hashed, shown and approved."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @cached_property
    def id(self) -> str:
        return plan_id(self.canonical)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan back; anything not exactly a plan of this schema version raises PlanRejected."""
        data = _fields("plan", _parse(text), ("schema", *(name for name in cls.__dataclass_fields__)))
        if data.pop("schema") != PLAN_SCHEMA:
            raise _refuse("plan.schema", "another version", f"{PLAN_SCHEMA}", "update foretwin")
        if not isinstance(data["steps"], list) or not isinstance(data["evidence"], Mapping):
            raise _refuse("plan", "steps or evidence of the wrong type", "a list of steps, an object of evidence")
        if len(data["steps"]) > MAX_STEPS:
            raise _refuse("plan.steps", f"{len(data['steps'])} steps", f"at most {MAX_STEPS}")
        data["steps"] = tuple(Action.from_dict(step) for step in data["steps"])
        data["evidence"] = tuple(data["evidence"].items())
        return cls(**data)

    @property
    def tier(self) -> int:
        """The most dangerous step's tier; 0 without steps."""
        return max((step.tier for step in self.steps), default=0)

    @property
    def targets(self) -> tuple[str, ...]:
        """Every component the plan acts on, sorted; doing nothing still claims its cause."""
        return tuple(sorted({one for step in self.steps for one in step.scope} or {self.cause}))


def plan_id(canonical: str) -> str:
    """The identity of a canonical plan text: 16 hex digits."""
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def do_nothing(cause: str, created_ms: int, expires_ms: int, snapshot_hash: str = "", policy_hash: str = "") -> Plan:
    """The candidate that is always there: leave everything as it is."""
    return Plan(DO_NOTHING, (), cause, (), snapshot_hash, policy_hash, created_ms, expires_ms)


def _parse(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise _refuse("plan", "nested too deeply", "a plan") from error
    except ValueError as error:
        raise _refuse("plan", f"not JSON: {error}", "canonical plan JSON") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise _refuse("plan", "a JSON key is given twice", "each key once")
    return dict(pairs)


def _no_constant(word: str) -> float:
    raise _refuse("plan", word, "finite numbers")
