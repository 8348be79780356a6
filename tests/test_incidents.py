"""The four cooling incidents: facts apart from outcomes, one set of assumptions for all, first stops beside records."""

from __future__ import annotations

from pathlib import Path

import pytest

from plant import streams
from plant.errors import IncidentFileError
from plant.files import DATA, shipped
from plant.hallset import GPU_NODE_SERVERS, hall_design_mw, load_hall_set, ruled
from plant.incident import Uniform, load_incident
from plant.ranges import expand
from plant.site import load_site
from plant.sitebuild import compile_site, read_site_file
from verbs import replay, replay_sensitivity, replay_stops
from verbs.replay_run import Case, busy_halls

COOLING = (
    "alibaba-hk-2022-12-18",
    "azure-australia-east-2023-08-30",
    "google-london-2022-07-19",
    "aws-use1az4-2026-05-07",
)
RECORD_MIN = (27.0, 119.0, 212.0, 65.0)
SET = load_hall_set("cooling-halls")
STAGES = {name: load_incident(name).site for name in COOLING}


def luck(seed: int) -> Uniform:
    """A callable uniform(purpose, name) from the house's streams."""
    return lambda purpose, name: float(streams.uniform(seed, purpose, 0, streams.component_key(name)))


@pytest.mark.parametrize(("name", "minute"), list(zip(COOLING, RECORD_MIN, strict=True)))
def test_record_is_sourced_and_stands_in_outcome_alone(name: str, minute: float) -> None:
    incident = load_incident(name, load_site(STAGES[name]))
    assert incident.outcome is not None
    assert incident.outcome.first_stop_min == minute
    assert incident.facts
    assert incident.sources
    for cause in incident.causes:
        assert cause.source or cause.reason, f"{cause.name} has neither source nor reason"
    for repair in incident.repairs:
        assert repair.source or repair.reason


@pytest.mark.parametrize("name", COOLING)
def test_without_its_outcome_a_file_gives_the_same_worlds(name: str, tmp_path: Path) -> None:
    """Also with every outcome time moved: nothing that runs may read them."""
    text = (DATA / "incidents" / f"{name}.toml").read_text()
    head, rest = text.split("\n[outcome]\n")
    outcome, tail = rest.split("\n[sources]\n")
    full = load_incident(name)
    moved = outcome.replace("_min = ", "_min = 1")
    for other in ("", f"[outcome]\n{moved}\n"):
        file = tmp_path / f"{name}.toml"
        file.write_text(f"{head}\n{other}\n[sources]\n{tail}")
        bare = load_incident(file)
        assert bare.outcome != full.outcome
        assert bare.hash == full.hash == full.without_outcome().hash
        for seed in range(10):
            assert bare.resolve(luck(seed)) == full.resolve(luck(seed))


def test_a_played_world_does_not_see_the_outcome() -> None:
    site = load_site("virginia")
    incident = load_incident("aws-use1az4-2026-05-07", site)
    assert replay_stops.first_stop(site, incident, 3) == replay_stops.first_stop(site, incident.without_outcome(), 3)


@pytest.mark.parametrize("stage", sorted(set(STAGES.values())))
def test_every_stage_is_built_by_the_one_set(stage: str) -> None:
    """Site files round what the rules give; nothing that the set names may differ from it by more."""
    file = read_site_file(shipped("sites", stage))
    rules = ruled(file, SET.likeliest)
    for mine, wanted in zip(file.loop, rules.loop, strict=True):
        for key in ("water_m3", "metal_kj_per_k"):
            assert getattr(mine, key) == pytest.approx(getattr(wanted, key), rel=0.05), key
        assert mine.supply_c == wanted.supply_c
        assert mine.chillers.capacity_kw == pytest.approx(wanted.chillers.capacity_kw, rel=0.02)
        assert mine.chillers.restart_min == wanted.chillers.restart_min
    assert {one.hall for one in file.structure} == {hall for hall, _ in file.halls()}
    for one, rule in zip(file.structure, rules.structure, strict=True):
        assert one.mass_kj_per_k == pytest.approx(rule.mass_kj_per_k, rel=0.02)
        assert one.ua_kw_per_k == pytest.approx(rule.ua_kw_per_k, rel=0.02)
    assert file.chiller_control == rules.chiller_control
    for key in ("node_type", "rack", "cooling_unit", "region", "hall"):
        assert getattr(file, key) == getattr(rules, key), key


def test_every_plant_of_which_something_may_be_left_is_controlled_alike() -> None:
    """Where all chillers stop at once, as in Hong Kong, neither heat nor warm water moves what is left."""
    for stage in sorted(set(STAGES.values()) - {"hall"}):
        file = read_site_file(shipped("sites", stage))
        assert {one.loop for one in file.chiller_control} == {loop.id for loop in file.loop}
        assert len({one.model_copy(update={"loop": "x/y"}) for one in file.chiller_control}) == 1


def test_stages_differ_in_nothing_else_that_warms_a_hall() -> None:
    """Density, node types and heat per cooling unit are the same everywhere, whatever the set names."""
    files = [read_site_file(shipped("sites", stage)) for stage in sorted(set(STAGES.values()))]
    assert all(file.node_type == files[0].node_type for file in files)
    for file in files:
        gpu = {kind.id for kind in file.node_type if kind.gpus}
        for hall, _ in file.halls():
            racks = [rack for rack in file.rack if rack.hall == hall]
            dense = sum(len(expand(rack.nodes)) for rack in racks if rack.node_type in gpu)
            assert dense / sum(len(expand(rack.nodes)) for rack in racks) == pytest.approx(0.3, abs=0.02)
            assert {rack.nodes_per_rack for rack in racks} == {6}


def test_no_incident_has_assumptions_of_its_own_about_its_hall() -> None:
    """What warms a hall comes from the set; an incident may only assume what befell it."""
    for name in COOLING:
        incident = load_incident(name)
        assert {one.name for one in incident.assumed} >= {"util_frac"}
        own = {one.name for one in incident.assumed} - {one.name for one in SET.assumed}
        assert own <= {"trip_flow_frac"}
        for one in incident.assumed:
            if one.name not in own:
                assert one in SET.assumed


def test_rules_size_by_design_heat() -> None:
    file = read_site_file(shipped("sites", "sydney"))
    mw = hall_design_mw(file)
    site = compile_site(file)
    assert [1000.0 * one for one in mw.values()] == pytest.approx(list(site.hall_design_kw))
    double = ruled(file, {**SET.likeliest, "water_m3_per_mw": 2.0 * SET.likeliest["water_m3_per_mw"]})
    assert double.loop[0].water_m3 == pytest.approx(2.0 * file.loop[0].water_m3, rel=0.02)
    heavy = ruled(file, {"server_kj_per_k": 10.0})
    assert [kind.mass_kj_per_k for kind in heavy.node_type] == [10.0, 10.0 * GPU_NODE_SERVERS]
    assert heavy.loop == file.loop


def test_a_share_of_several_machines_fails_in_the_order_of_the_list() -> None:
    incident = load_incident("google-london-2022-07-19")
    for seed in range(40):
        world = incident.resolve(luck(seed))
        hit = world.cause("several_coolers_fail")
        share = world.value("several_lost_frac")
        assert hit.severity == share
        assert hit.components == tuple(f"london/loop-a/ch{i:02d}" for i in range(1, round(8 * share) + 1))
        assert len(world.cause("redundant_systems_fail").components) == 2


def test_the_heat_of_the_day_reaches_the_replay() -> None:
    site = load_site("london")
    case = Case(site, load_incident("google-london-2022-07-19", site), 1)
    ((region, outdoor_c),) = case.world.outdoor_c
    assert region == "london"
    assert 37.0 <= outdoor_c <= 40.3
    assert (case.drivers().outdoor_c == outdoor_c).all()


def test_both_halls_on_a_struck_plant_are_busy() -> None:
    site = load_site("sydney")
    world = load_incident("azure-australia-east-2023-08-30", site).resolve(luck(0))
    busy = busy_halls(site, world)
    assert busy["au-east/hall-1"] == busy["au-east/hall-2"] == world.value("util_frac")
    assert busy["au-east/zone-2"] < 0.5


def test_first_stop_row_sets_the_median_beside_the_record() -> None:
    incident = load_incident("aws-use1az4-2026-05-07")
    stops = [replay_stops.FirstStop(60.0 * m, 60.0 * m) for m in (40.0, 50.0, 130.0)] + [
        replay_stops.FirstStop(None, None)
    ]
    row = replay_stops.row(incident, stops)
    assert (row["worlds"], row["stopped"]) == (4, 3)
    assert row["t_first_stop_s"] == 90.0 * 60.0, "a world without a stop counts as later than all others"
    assert row["t_first_stop_p90_s"] is None
    assert row["factor"] == pytest.approx(90.0 / 65.0)
    assert row["within_factor_2"]
    early = replay_stops.row(incident, [replay_stops.FirstStop(60.0, 60.0)])
    assert early["factor"] == pytest.approx(65.0)
    assert not early["within_factor_2"]
    none = replay_stops.row(incident, [replay_stops.FirstStop(None, None)] * 3)
    assert none["t_first_stop_s"] is None
    assert none["factor"] is None


@pytest.mark.slow
def test_replay_prints_the_first_stop_of_many_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policy none speaks for all worlds, a full replay or only up to the stop."""
    monkeypatch.setattr(replay_stops, "WORLDS", 2)
    name = "alibaba-hk-2022-12-18"
    results = replay.run([name], seeds=1, policies=("none",), workers=1, say=lambda text: None)
    (row,) = results["first_stops"]
    assert row["worlds"] == row["stopped"] == results["policies"][0]["t_first_stop_worlds"] == 2
    assert results["policies"][0]["t_first_stop_s"] == row["t_first_stop_s"]
    again = [replay.stop_of(name, seed).after_fault_s for seed in range(2)]
    assert row["t_first_stop_s"] == replay_stops.quantile_s(again, 0.5)


GOOGLE = (DATA / "incidents/google-london-2022-07-19.toml").read_text()
BAD = {
    "no such set": ('set = "cooling-halls"', 'set = "cooling-hals"', ("common.set", "shipped are cooling-halls")),
    "no such value": ('"util_frac", ', '"util", ', ("common.names[0]: no value 'util'", "did you mean 'util_frac'?")),
    "twice": ('"util_frac", ', '"util_frac", "util_frac", ', ("common.names[1]: 'util_frac' is assumed twice",)),
    "severity of nothing": (
        'severity_from = "several_lost_frac"',
        'severity_from = "several"',
        ("cause[1].severity_from: no assumed value 'several'; one of util_frac several_lost_frac",),
    ),
    "two severities": (
        "severity_from",
        "severity = 0.5\nseverity_from",
        ("cause[1]: both severity and severity_from",),
    ),
    "repair without a time": ("at_min = 460.0\n", "", ("repair[0]: neither of at_min and at_min_assumed",)),
    "public without a source": (
        'clears = ["redundant_systems_fail", "several_coolers_fail"]\nsource = "report"',
        "",
        ("repair[0]: at_min without source",),
    ),
    "no such region": (
        'region = "london"',
        'region = "leeds"',
        ("weather[0].region: site 'london' has no region 'leeds'",),
    ),
    "heat in kelvin": ("[37.0, 39.0, 40.3]", "[310.0, 312.0, 313.0]", ("weather[0].outdoor_c_assumed", "-40..60 C")),
    "heat without a reason": ("reason = ", "# reason = ", ("weather[0]: outdoor_c_assumed without reason",)),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_shared_parts_get_one_clear_line(name: str, tmp_path: Path) -> None:
    old, new, parts = BAD[name]
    assert old in GOOGLE
    file = tmp_path / "x.toml"
    file.write_text(GOOGLE.replace(old, new, 1))
    with pytest.raises(IncidentFileError) as refusal:
        load_incident(file, load_site("london"))
    lines = str(refusal.value).splitlines()
    assert any(all(part in line for part in parts) for line in lines), lines


def test_a_bad_set_is_refused(tmp_path: Path) -> None:
    text = (DATA / "assumed/cooling-halls.toml").read_text()
    file = tmp_path / "set.toml"
    file.write_text(text.replace("value = 0.6\n", "value = 60.0\n", 1).replace("metal_kj_per_k_per_mw", "util_frac", 1))
    with pytest.raises(IncidentFileError) as refusal:
        load_hall_set(file)
    assert "is 60 fraction; low 0.5 .. high 0.7" in str(refusal.value)
    assert "'util_frac' is already at assumed[0]" in str(refusal.value)


def test_a_moved_constant_reaches_stage_and_world() -> None:
    """The sensitivity table builds each stage by the rules, with one constant at an end of its range."""
    name = "virginia"
    heavy = replay_sensitivity.Moved("aws-use1az4-2026-05-07", "water_m3_per_mw", 14.0)
    values = replay_sensitivity.built_from(SET, heavy)
    assert values == SET.likeliest | {"water_m3_per_mw": 14.0}
    file = read_site_file(shipped("sites", name))
    assert ruled(file, values).loop[0].water_m3 == pytest.approx(14.0 / 8.9 * file.loop[0].water_m3, rel=0.02)
    incident = load_incident("aws-use1az4-2026-05-07")
    some = replay_sensitivity.pinned(incident, replay_sensitivity.Moved(incident.id, "unnamed_lost_frac", 0.7))
    world = some.likeliest()
    assert world.value("unnamed_lost_frac") == 0.7
    assert world.value("util_frac") == 0.6
    assert len(world.cause("cooling_fails").components) == 6
    names = [one.name for one in replay_sensitivity.constants(incident)]
    assert len(set(names)) == len(names)
    assert "several_lost_frac" not in names, "a share that this incident does not use"
    never = replay_sensitivity.NEVER
    assert replay_sensitivity.middle([50.0, never, 40.0]) == 50.0
    assert replay_sensitivity.middle([never, never, 40.0]) == never
    assert replay_sensitivity.stop_s(replay_sensitivity.Moved(incident.id, "coil_effectiveness_frac", 0.3), 0) == (
        replay_sensitivity.NO_SITE
    )


@pytest.mark.slow
def test_more_water_and_a_smaller_loss_stop_later() -> None:
    name = "aws-use1az4-2026-05-07"
    moved = replay_sensitivity.Moved
    likely, wet, worse = (
        replay_sensitivity.stop_s(one, 0)
        for one in (moved(name), moved(name, "water_m3_per_mw", 14.0), moved(name, "unnamed_lost_frac", 1.0))
    )
    assert isinstance(likely, float)
    assert isinstance(wet, float)
    assert isinstance(worse, float)
    assert worse < likely < wet
