"""Actions and plans: a closed typed set, a canonical text, an identity that follows the content."""

import json
import math

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plant.action_kinds import KINDS, RULES, TRIGGERS
from plant.actions import MAX_STEPS, Action, Plan, do_nothing, plan_id
from plant.errors import PlanRejected

HALL = "hk/c"


def cap(scope=(HALL,), cap_frac=0.6) -> Action:
    return Action.of("cap_power", scope, cap_frac=cap_frac)


def plan(*steps: Action, label: str = "cap", **more) -> Plan:
    fields = {"cause": "hk/c", "created_ms": 1_000, "expires_ms": 601_000, **more}
    return Plan(label, steps or (cap(),), **fields)


names = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
scopes = st.lists(names.map(lambda n: "r/" + n), min_size=1, max_size=4, unique=True).map(tuple)
waits = st.fixed_dictionaries({}, optional={"after_s": st.floats(0, 604_800), "when": st.sampled_from(TRIGGERS)})


def _value(rule):
    if rule.words:
        return st.sampled_from(rule.words)
    if rule.type is str:
        return names.map(lambda n: "elsewhere/" + n)
    if rule.type is int:
        return st.integers(int(rule.low), int(rule.high))
    return st.floats(rule.low, rule.high)


@st.composite
def actions(draw):
    kind = draw(st.sampled_from(KINDS))
    rule = RULES[kind]
    must = {n: _value(r) for n, r in rule.params.items() if r.required or n in rule.one_of[:1]}
    may = {n: _value(r) for n, r in rule.params.items() if n not in must}
    params = {**draw(st.fixed_dictionaries(must, optional=may)), **draw(waits)}
    return Action(kind, draw(scopes), tuple(params.items()), draw(st.floats(1, 7_200)), draw(st.integers(rule.tier, 3)))


plans = st.builds(
    lambda steps, label, cause, evidence, created, life: Plan(
        label if steps else "do_nothing",
        tuple(steps),
        cause,
        tuple(evidence.items()),
        "s",
        "p",
        created,
        created + life,
    ),
    st.lists(actions(), max_size=5, unique_by=lambda a: (a.kind, a.scope, a.params)),
    names.filter(lambda n: n != "do_nothing"),
    names,
    st.dictionaries(names, st.one_of(names, st.floats(-1e9, 1e9), st.integers(-1000, 1000)), max_size=3),
    st.integers(0, 2**50),
    st.integers(1, 2**40),
)


@given(plans)
@settings(max_examples=examples(150), deadline=None)
def test_a_plan_survives_its_own_text_with_the_same_identity(one):
    again = Plan.from_json(one.canonical)
    assert again == one
    assert (again.canonical, again.id) == (one.canonical, one.id)
    assert one.id == plan_id(one.canonical)
    assert len(one.id) == 16


@given(plans, plans)
@settings(max_examples=examples(60), deadline=None)
def test_two_plans_share_an_identity_exactly_when_they_are_equal(one, other):
    assert (one.id == other.id) == (one == other)


def test_the_order_and_the_number_type_of_what_was_typed_do_not_change_the_identity():
    a = plan(Action("cap_power", (HALL,), (("cap_frac", 1), ("after_s", 30))))
    b = plan(Action("cap_power", (HALL,), (("after_s", 30.0), ("cap_frac", 1.0))))
    assert a.id == b.id


@pytest.mark.parametrize(
    "edit",
    [
        {"label": "other"},
        {"cause": "hk/b"},
        {"evidence": (("p_fail", 0.9),)},
        {"snapshot_hash": "aa"},
        {"policy_hash": "bb"},
        {"created_ms": 1_001},
        {"expires_ms": 601_001},
        {"steps": (cap(cap_frac=0.61),)},
        {"steps": (cap(("hk/b",)),)},
    ],
)
def test_every_edit_makes_another_identity(edit):
    base = {"label": "cap", "steps": (cap(),), "cause": "hk/c", "created_ms": 1_000, "expires_ms": 601_000}
    assert Plan(**{**base, **edit}).id != Plan(**base).id


def test_the_identity_of_a_known_plan_never_changes():
    # approvals in old ledgers name this hash: a change of the canonical form would orphan them
    assert plan().canonical == (
        '{"cause":"hk/c","created_ms":1000,"evidence":{},"expires_ms":601000,"label":"cap","policy_hash":"","schema":1,'
        '"snapshot_hash":"","steps":[{"kind":"cap_power","params":{"cap_frac":0.6},"scope":["hk/c"],"tier":2,'
        '"timeout_s":120.0}]}'
    )
    assert plan().id == "6c79fb1aae87a13d"


def test_each_kind_states_its_conditions_timeout_and_tier():
    assert len(KINDS) == 10
    for kind in KINDS:
        rule = RULES[kind]
        assert rule.precondition
        assert rule.postcondition
        assert rule.timeout_s > 0
        assert 0 <= rule.tier <= 3


def test_defaults_are_written_into_the_plan():
    moved = Action.of("migrate", [HALL], to_hall="hk/b")
    assert moved.get("concurrent") == 4
    assert moved.timeout_s == RULES["migrate"].timeout_s


def test_do_nothing_has_no_step_and_claims_its_cause():
    nothing = do_nothing("hk/c", 1, 2)
    assert (nothing.steps, nothing.tier, nothing.targets) == ((), 0, ("hk/c",))


def test_a_plan_is_as_dangerous_as_its_most_dangerous_step():
    assert plan(Action.of("cordon", [HALL])).tier == 1
    assert plan(Action.of("cordon", [HALL]), Action.of("requeue", [HALL])).tier == 3


BAD_ACTIONS = {
    "unknown kind": lambda: Action("reboot", (HALL,)),
    "kind is a list": lambda: Action(["cordon"], (HALL,)),
    "empty scope": lambda: Action("cordon", ()),
    "scope is text": lambda: Action("cordon", HALL),
    "scope twice": lambda: Action("cordon", (HALL, HALL)),
    "scope holds empty id": lambda: Action("cordon", ("",)),
    "scope holds newline": lambda: Action("cordon", ("hk/c\nx",)),
    "scope holds NUL": lambda: Action("cordon", ("hk/\0",)),
    "scope holds a lone surrogate": lambda: Action("cordon", ("hk/\ud800",)),
    "scope holds 10 kB": lambda: Action("cordon", ("x" * 10_000,)),
    "missing parameter": lambda: Action("cap_power", (HALL,)),
    "unknown parameter": lambda: Action.of("cordon", [HALL], cap_frac=0.5),
    "parameter twice": lambda: Action("cap_power", (HALL,), (("cap_frac", 0.5), ("cap_frac", 0.6))),
    "cap 0": lambda: cap(cap_frac=0),
    "cap 150 %": lambda: cap(cap_frac=1.5),
    "cap just below": lambda: cap(cap_frac=0.2999),
    "cap NaN": lambda: cap(cap_frac=math.nan),
    "cap inf": lambda: cap(cap_frac=math.inf),
    "cap huge": lambda: cap(cap_frac=10**400),
    "cap text": lambda: cap(cap_frac="0.5"),
    "cap bool": lambda: cap(cap_frac=True),
    "concurrent 0": lambda: Action.of("migrate", [HALL], to_hall="hk/b", concurrent=0),
    "concurrent 1.5": lambda: Action.of("migrate", [HALL], to_hall="hk/b", concurrent=1.5),
    "no destination": lambda: Action.of("migrate", [HALL]),
    "destination is the source": lambda: Action.of("migrate", [HALL], to_hall=HALL),
    "destination holds the source": lambda: Action.of("migrate", ["hk/c/r1"], to_hall=HALL),
    "unknown trigger": lambda: Action.of("ordered_return", [HALL], when="tomorrow"),
    "negative wait": lambda: Action.of("cordon", [HALL], after_s=-1),
    "nothing to set": lambda: Action.of("set_cooling", [HALL]),
    "timeout 0": lambda: Action("cordon", (HALL,), (), 0.0),
    "timeout negative": lambda: Action("cordon", (HALL,), (), -5.0),
    "timeout 10^12": lambda: Action("cordon", (HALL,), (), 1e12),
    "tier below its kind": lambda: Action("requeue", (HALL,), (), 60.0, 1),
    "tier 4": lambda: Action("cordon", (HALL,), (), 60.0, 4),
}


@pytest.mark.parametrize("make", BAD_ACTIONS.values(), ids=BAD_ACTIONS)
def test_a_bad_action_is_refused_in_one_line(make):
    with pytest.raises(PlanRejected) as caught:
        make()
    assert str(caught.value)
    assert "\n" not in str(caught.value)


BAD_PLANS = {
    "no steps under another name": lambda: Plan("cap", (), "c", (), "", "", 1, 2),
    "steps under do_nothing": lambda: plan(label="do_nothing"),
    "same step twice": lambda: plan(cap(), cap()),
    "too many steps": lambda: plan(*(cap(cap_frac=0.3 + i / 1000) for i in range(MAX_STEPS + 1))),
    "expiry before creation": lambda: plan(expires_ms=10),
    "expiry is a float": lambda: plan(expires_ms=601_000.0),
    "negative creation": lambda: plan(created_ms=-1),
    "no cause": lambda: plan(cause=""),
    "evidence NaN": lambda: plan(evidence=(("p", math.nan),)),
    "evidence twice": lambda: plan(evidence=(("p", 1), ("p", 2))),
    "a step that is text": lambda: Plan("x", ("cordon",), "c", (), "", "", 1, 2),
}


@pytest.mark.parametrize("make", BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_bad_plan_is_refused(make):
    with pytest.raises(PlanRejected):
        make()


def _edited(**change) -> str:
    return json.dumps({**json.loads(plan().canonical), **change})


BAD_TEXTS = {
    "not JSON": "{",
    "empty": "",
    "a list": "[]",
    "another schema": _edited(schema=2),
    "an extra field": _edited(extra=1),
    "a missing field": json.dumps({"schema": 1}),
    "NaN": plan().canonical.replace("0.6", "NaN"),
    "1e999": plan().canonical.replace("0.6", "1e999"),
    "a key twice": plan().canonical.replace('"label":"cap"', '"label":"cap","label":"cap"'),
    "steps of the wrong type": _edited(steps={}),
    "a million steps": '{"steps":[' + ",".join(["1"] * 100_000) + "]}",
    "evidence of the wrong type": _edited(evidence=[]),
    "an unknown kind": plan().canonical.replace("cap_power", "reboot"),
    "kind is a list": plan().canonical.replace('"cap_power"', '["cap_power"]'),
    "scope of numbers": plan().canonical.replace('"hk/c"]', "3]"),
    "deep nesting": "[" * 100_000,
}


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_bad_text_is_refused(text):
    with pytest.raises(PlanRejected):
        Plan.from_json(text)
