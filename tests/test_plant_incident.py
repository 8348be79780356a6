"""Incident files: what a run may read, what it may not, and the one clear line each mistake gets."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant import streams
from plant.errors import IncidentFileError
from plant.incident import Incident, ResolvedIncident, Uniform, load_incident, lognormal_between, triangular
from plant.site import load_site

ROOT = Path(__file__).resolve().parent.parent
ALIBABA = (ROOT / "data/incidents/alibaba-hk-2022-12-18.toml").read_text()


def luck(seed: int, member: int = 0) -> Uniform:
    """A callable uniform(purpose, name) from the house's streams."""

    def uniform(purpose: str, name: str) -> float:
        return float(streams.uniform(seed, purpose, member, streams.component_key(name)))

    return uniform


def alibaba() -> Incident:
    return load_incident("alibaba-hk-2022-12-18", load_site("hall"))


def test_alibaba_keeps_causes_and_outcome_apart() -> None:
    incident = alibaba()
    assert incident.at == datetime.datetime(2022, 12, 18, 0, 56, tzinfo=datetime.UTC)
    assert [cause.kind for cause in incident.causes] == ["loop_airlock", "chiller_trip", "standby_fails"]
    assert [repair.at_min for repair in incident.repairs] == [384.0, 384.0, 599.0]
    assert incident.outcome is not None
    assert (incident.outcome.first_stop_min, incident.outcome.recovered_min) == (27.0, 760.0)
    assert all(cause.at_min is not None or cause.at_min_assumed or cause.after for cause in incident.causes)


def test_every_assumption_has_range_and_reason() -> None:
    incident = alibaba()
    for each in incident.assumed:
        assert each.low < each.value < each.high
        assert each.reason
    airlock = incident.causes[0]
    assert airlock.reason
    assert airlock.precursor is not None
    assert airlock.precursor.reason


def test_deleting_the_outcome_changes_nothing_a_run_reads(tmp_path: Path) -> None:
    """The same world from the file without its outcome, facts and sources' texts."""
    head, rest = ALIBABA.split("\n[outcome]\n")
    without = head + "\n" + rest[rest.index("[sources]") :]
    file = tmp_path / "alibaba-hk-2022-12-18.toml"
    file.write_text(without)
    bare, full = load_incident(file), alibaba()
    assert bare.outcome is None
    assert bare.hash == full.hash == full.without_outcome().hash
    for seed in range(20):
        assert bare.resolve(luck(seed)) == full.resolve(luck(seed)) == full.without_outcome().resolve(luck(seed))


def test_resolved_worlds_keep_to_the_ranges() -> None:
    incident = alibaba()
    worlds = [incident.resolve(luck(seed)) for seed in range(400)]
    trips = [world.cause("air_ingress").at_min for world in worlds]
    assert -15.0 <= min(trips) < max(trips) <= -6.0
    leads = [world.cause("air_ingress").lead_min for world in worlds]
    warned = [lead for lead in leads if lead > 0.0]
    assert 0.62 < len(warned) / len(leads) < 0.78, "30 % of cooling faults show nothing"
    assert 8.0 - 1e-9 <= min(warned) < max(warned) <= 90.0 + 1e-9
    assert 22.0 < sorted(warned)[len(warned) // 2] < 33.0
    assert len({world.value("util_frac") for world in worlds}) == len(worlds)


def test_causes_that_follow_share_the_time_of_the_first() -> None:
    world = alibaba().resolve(luck(3))
    first = world.cause("air_ingress")
    assert world.cause("low_flow_trip").at_min == first.at_min
    assert world.cause("low_flow_trip").components == tuple(f"hk/zone-c/loop/ch{i}" for i in range(1, 5))
    assert world.cause("standby_on_the_same_loop").group == first.group
    assert world.first_sign_min == first.onset_min <= first.at_min
    assert world.at_ms(0.0) == 1671324960000
    assert world.at_ms(-1.5) == 1671324960000 - 90000


def test_same_luck_gives_the_same_world_and_other_members_others() -> None:
    incident = alibaba()
    assert incident.resolve(luck(1)) == incident.resolve(luck(1))
    assert incident.resolve(luck(1)) != incident.resolve(luck(1, member=1))
    assert isinstance(incident.likeliest(), ResolvedIncident)


def test_asking_for_an_unknown_value_names_the_known_ones() -> None:
    world = alibaba().likeliest()
    with pytest.raises(IncidentFileError, match="no assumed value 'flow'; one of trip_flow_frac util_frac"):
        world.value("flow")
    with pytest.raises(IncidentFileError, match="no cause 'fire'"):
        world.cause("fire")


spans = st.tuples(*[st.floats(-1e4, 1e4)] * 3).map(lambda values: tuple(sorted(values)))
inside = st.floats(1e-9, 1 - 1e-9)


@given(span=spans, u=inside, v=inside)
def test_triangular_stays_inside_and_rises(span: tuple[float, float, float], u: float, v: float) -> None:
    a, b = sorted((u, v))
    low, high = triangular(a, span), triangular(b, span)
    slack = 1e-9 * (1 + abs(span[0]) + abs(span[2]))
    assert span[0] - slack <= low <= high + slack <= span[2] + 2 * slack


@given(u=inside, v=inside)
def test_leads_stay_inside_and_rise(u: float, v: float) -> None:
    a, b = sorted((u, v))
    assert 8.0 <= lognormal_between(a, (8.0, 27.0, 90.0)) <= lognormal_between(b, (8.0, 27.0, 90.0)) <= 90.0


def test_triangular_mean_is_the_mean_of_its_corners() -> None:
    n = 20000
    mean = sum(triangular((i + 0.5) / n, (0.0, 2.0, 10.0)) for i in range(n)) / n
    assert mean == pytest.approx(4.0, abs=1e-3)


def changed(*pairs: tuple[str, str]) -> str:
    """The Hong Kong incident with the first occurrence of each text replaced."""
    text = ALIBABA
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def faults_of(tmp_path: Path, text: str) -> list[str]:
    """The lines an incident file of this text is refused with on the hall."""
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(IncidentFileError) as refusal:
        load_incident(file, load_site("hall"))
    lines = str(refusal.value).splitlines()
    assert len(lines) == len(refusal.value.faults)
    return lines


LEAD, ONSET = "lead_min_assumed = [8.0, 27.0, 90.0]", "at_min_assumed = [-15.0, -10.0, -6.0]"
BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "empty": ("", ("x.toml: is empty; at least id title at site",)),
    "syntax": (changed(('site = "hall"', 'site = "hall')), ("x.toml line 6: syntax error",)),
    "unknown key": (
        changed(("component_kind", "component_knd")),
        ("component_knd: unknown key", "did you mean 'component_kind'?"),
    ),
    "key in seconds": (
        changed(("at_min = 384.0", "at_s = 23040")),
        ("repair[0].at_s: unknown key", "did you mean 'at_min'? values are min"),
    ),
    "value in seconds": (
        changed(("at_min = 384.0", "at_min = 23040")),
        ("repair[0].at_min: is 23040 min", "looks like seconds: write 384"),
    ),
    "wrong type": (
        changed(("at_min = 384.0", 'at_min = "late"')),
        ("repair[0].at_min: is text 'late'", "a number, -10080..20160 min"),
    ),
    "nan": (changed(("at_min = 384.0", "at_min = nan")), ("repair[0].at_min: is nan", "finite")),
    "inf in a range": (changed((LEAD, "lead_min_assumed = [8.0, 27.0, inf]")), ("lead_min_assumed", "is inf")),
    "range of two": (
        changed((ONSET, "at_min_assumed = [-15.0, -10.0]")),
        ("cause[0].at_min_assumed: has 2 entries", "a list of 3 numbers", "write [low, mode, high]"),
    ),
    "range backwards": (
        changed((ONSET, "at_min_assumed = [-6.0, -10.0, -15.0]")),
        ("cause[0].at_min_assumed: is [-6, -10, -15]", "low <= mode <= high"),
    ),
    "range in seconds": (
        changed((LEAD, "lead_min_assumed = [480.0, 1620.0, 54000.0]")),
        ("lead_min_assumed: is [480, 1620, 54000]", "looks like seconds: write 900"),
    ),
    "range without reason": (
        changed(
            ('reason = "Water-loop', '# reason = "Water-loop'),
            (", # reason", ', shape = "linear" }\n# reason'),
            ('shape = "linear", ', ""),
        ),
        ("cause[0].precursor: lead_min_assumed without reason",),
    ),
    "fraction in percent": (
        changed(("severity_assumed = [0.85, 0.95, 1.0]", "severity_assumed = [85.0, 95.0, 100.0]")),
        ("severity_assumed: is [85, 95, 100]", "looks like percent: write 1"),
    ),
    "no time": (changed((ONSET + "\n", "")), ("cause[0]: cause 'air_ingress' has no time",)),
    "public and assumed": (changed((ONSET, ONSET + "\nat_min = -10.0")), ("cause[0]: both at_min and at_min_assumed",)),
    "both leads": (
        changed((LEAD, "lead_min = 27.0, " + LEAD)),
        ("cause[0].precursor: both of lead_min and lead_min_assumed",),
    ),
    "no time zone": (changed(("08:56:00+08:00", "08:56:00")), ("at: 2022-12-18 08:56:00 has no time zone",)),
    "date only": (changed(("2022-12-18T08:56:00+08:00", '"morning"')), ("at:", "2022-12-18T08:56:00+08:00")),
    "unknown fault": (
        changed(("loop_airlock", "loop_airlok")),
        ("cause[0].kind: is 'loop_airlok'", "did you mean 'loop_airlock'?"),
    ),
    "unknown component": (
        changed(('"hk/zone-c/loop"', '"hk/zone-d/loop"')),
        ("cause[0].component: site 'hall' has no component 'hk/zone-d/loop'", "did you mean 'hk/zone-"),
    ),
    "unknown chillers": (
        changed(("ch[5-8]", "ch[5-10]")),
        ("cause[2].component: site 'hall' has no component 'hk/zone-c/loop/ch9,hk/zone-c/loop/ch10'",),
    ),
    "wrong kind of component": (
        changed(('"hk/zone-c/loop/ch[1-4]"', '"hk/zone-c/loop"')),
        ("cause[1].component: 'hk/zone-c/loop' is a loop", "a chiller, which chiller_trip befalls"),
    ),
    "bad range": (changed(("ch[5-8]", "ch[8-5]")), ("cause[2].component: 'ch[8-5]' runs backwards",)),
    "unknown cause": (changed(('after = "air_ingress"', 'after = "air"')), ("cause[1].after: no cause 'air'",)),
    "circle": (
        changed((ONSET, ONSET + '\nafter = "low_flow_trip"')),
        ("goes in a circle: air_ingress after low_flow_trip after air_ingress",),
    ),
    "unknown source": (
        changed(('source = "statement"', 'source = "statment"')),
        ("cause[1].source: no source 'statment'", "did you mean 'statement'?"),
    ),
    "duplicate cause": (
        changed(('name = "low_flow_trip"', 'name = "air_ingress"')),
        ("cause[1].name: 'air_ingress' is already at cause[0]",),
    ),
    "assumed outside its range": (
        changed(("value = 0.45", "value = 0.65")),
        ("assumed[0].value: is 0.65 fraction", "low 0.35 .. high 0.55"),
    ),
    "unknown kind": (
        changed(('component_kind = "loop"', 'component_kind = "cooling"')),
        ("component_kind: no component kind 'cooling'",),
    ),
    "outcome in seconds": (
        changed(("first_stop_min = 27.0", "first_stop_s = 1620")),
        ("outcome.first_stop_s: unknown key", "did you mean 'first_stop_min'? values are min"),
    ),
    "no causes": (
        'id = "x"\ntitle = "x"\nat = 2022-12-18T08:56:00+08:00\nsite = "hall"\ncomponent_kind = "loop"\ncause = []\n',
        ("cause: is empty; at least 1",),
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_incident_file_gets_one_clear_line(name: str, tmp_path: Path) -> None:
    text, parts = BAD[name]
    lines = faults_of(tmp_path, text)
    assert any(all(part in line for part in parts) for line in lines), f"wanted {parts}, got\n" + "\n".join(lines)
    assert all(line.startswith("x.toml") for line in lines)


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    lines = faults_of(
        tmp_path,
        changed(
            ("at_min = 384.0", "at_min = nan"),
            ("ch[5-8]", "ch[7-9]"),
            ("value = 0.45", "value = 0.65"),
            ('after = "air_ingress"', 'after = "air_ingres"'),
            ("register =", "registr = 3\nregister ="),
        ),
    )
    text = "\n".join(lines)
    for part in ("is nan", "hk/zone-c/loop/ch9", "0.65", "no cause 'air_ingres'", "sources.registr"):
        assert text.count(part) == 1, text


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(IncidentFileError, match=r"no such file; shipped are .*alibaba-hk-2022-12-18"):
        load_incident("alibaba")
    with pytest.raises(IncidentFileError, match="is a directory"):
        load_incident(tmp_path)
