"""`map check`: each seeded error of unit is told with what it looks like; clean days of all shipped sites are clean."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from plant.channels import CHANNELS
from plant.errors import TelemetryError
from plant.site import Site, load_site
from twin.emulator import Emulator, Scenario
from twin.telemetry.expecting import Expected
from twin.telemetry.mapcheck import Report, check
from twin.telemetry.mapping import load_mapping
from twin.telemetry.memory_store import MemoryStore
from twin.telemetry.samples import Samples, Series
from twin.telemetry.suggesting import suggest
from verbs.map_check import run

T0 = 1_671_321_360_000
NOW = T0 + 10**9
SITES = ("tiny", "c3o", "hall", "liquid", "london", "selene", "thousand", "sydney", "virginia", "fabric", "frontier")
UNIT = {row.key: row.unit for row in CHANNELS}


@cache
def site_of(name: str) -> Site:
    return load_site(name)


def kinds_of(site: Site) -> dict[str, str]:
    return {component: kind for kind in site.kinds for component in site.components(kind)}


@cache
def emulated(name: str, hours: float = 1.0) -> Samples:
    site, store = site_of(name), MemoryStore()
    Emulator(site, Scenario(5, T0, hours, dict.fromkeys(site.hall_ids, 0.6)), store).advance(T0 + int(hours * 3.6e6))
    batch = store.read(None, None, 0, 2**60)
    slots: dict[tuple[str, str], int] = {}
    which = [slots.setdefault(key, len(slots)) for key in zip(batch.component, batch.channel, strict=True)]
    series = [Series.of("", channel, {"component": component}) for component, channel in slots]
    return Samples(series, np.array(which), batch.time_ms, batch.value, {})


def table_of(rows: dict[tuple[str, str], list[float]], step_ms: int = 60_000) -> Samples:
    series = [Series.of("", channel, {"component": component}) for component, channel in rows]
    which = np.repeat(np.arange(len(series)), [len(values) for values in rows.values()])
    times = np.concatenate([T0 + step_ms * np.arange(len(values)) for values in rows.values()])
    return Samples(series, which, times, np.concatenate([np.array(v, float) for v in rows.values()]), {})


def judged(samples: Samples, site: Site | None, mapping: Path | None = None) -> Report:
    kind_of = None if site is None else kinds_of(site)
    return check(samples, load_mapping(mapping, kind_of), site, NOW)


# --- clean data ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", pytest.param("all", marks=pytest.mark.slow)])
def test_a_clean_emulated_site_gives_no_alarm(name):
    for one in SITES if name == "all" else (name,):
        found = judged(emulated(one, 0.5 if name == "all" else 1.0), site_of(one))
        assert [f.as_dict() for f in found.findings] == [], one
        assert (found.coverage, found.duplicates, found.unknown, found.out_of_range) == (1.0, {}, {}, {})


# --- errors in emulated data ----------------------------------------------------------------------

SLIPS = {
    "F": ("C", lambda v: v * 1.8 + 32.0, "Fahrenheit"),
    "x10": ("C", lambda v: v * 10.0, "tenths of a degree"),
    "K": ("C", lambda v: v + 273.15, "kelvin"),
    "W": ("kW", lambda v: v * 1000.0, "watts"),
    "hundredths": ("kW", lambda v: v * 100.0, "hundredths of a kilowatt"),
    "percent": ("fraction", lambda v: v * 100.0, "percent"),
    "Pa": ("kPa", lambda v: v * 1000.0, "pascals"),
}


@pytest.mark.parametrize("name", ["tiny", pytest.param("others", marks=pytest.mark.slow)])
@pytest.mark.parametrize("slip", SLIPS)
def test_a_wrong_unit_is_told_for_every_channel_of_the_unit(name, slip):
    unit, wrong, said = SLIPS[slip]
    for one in ("c3o", "liquid", "london", "thousand") if name == "others" else (name,):
        samples, kinds = emulated(one), kinds_of(site_of(one))
        keys = [(kinds[dict(s.tags)["component"]], s.field) for s in samples.series]
        mine = np.array([UNIT[key] == unit for key in keys])[samples.which]
        value = np.where(mine, wrong(samples.value), samples.value)
        changed = Samples(samples.series, samples.which, samples.time_ms, value, {})
        found = [f for f in judged(changed, site_of(one)).findings if f.witness == "values"]
        assert {f.channel for f in found} == {".".join(key) for key in keys if UNIT[key] == unit}
        assert all(said in f.looks_like for f in found), [(f.channel, f.looks_like) for f in found]
        assert all(f.cure and f.found for f in found)


# --- errors of a mapping: the number is right, what the file says of it is not -----------------------

RUNTIME = 1800.0
SEEDED = {
    # name: (component kind, channel, true value, what the source says for it, the words of the finding)
    "nanosecond runtime": ("ups", "runtime_s", lambda v: v * 1e9, "nanoseconds"),
    "millisecond runtime": ("ups", "runtime_s", lambda v: v * 1e3, "milliseconds"),
    "nanoseconds on battery": ("ups", "on_battery_s", lambda v: v * 1e9, "nanoseconds"),
    "milliseconds on battery": ("ups", "on_battery_s", lambda v: v * 1e3, "milliseconds"),
    "hundredths of kW": ("rack", "power_kw", lambda v: v * 100.0, "hundredths of a kilowatt"),
    "W for kW": ("rack", "power_kw", lambda v: v * 1000.0, "watts"),
    "W for kW, node": ("node", "power_kw", lambda v: v * 1000.0, "watts"),
    "tenths of volts": ("ups", "voltage_in_v", lambda v: v * 10.0, "tenths of volts"),
    "tenths of volts out": ("ups", "voltage_out_v", lambda v: v * 10.0, "tenths of volts"),
    "degF": ("rack", "inlet_c", lambda v: v * 1.8 + 32.0, "Fahrenheit"),
    "degF node": ("node", "inlet_c", lambda v: v * 1.8 + 32.0, "Fahrenheit"),
    "percent load": ("ups", "load_frac", lambda v: v * 100.0, "percent"),
    "percent charge": ("ups", "battery_frac", lambda v: v * 100.0, "percent"),
    "percent util": ("node", "util_frac", lambda v: v * 100.0, "percent"),
    "rpm for percent": ("cooling_unit", "fan_frac", lambda v: np.round(v * 9000.0), "rpm"),
    "x10 inlet": ("rack", "inlet_c", lambda v: np.round(v * 10.0), "tenths of a degree"),
    "x10 water": ("loop", "supply_c", lambda v: np.round(v * 10.0), "tenths of a degree"),
}


def truth(site: Site, kind: str, channel: str, at: float, swing: float, n: int, seed: int) -> dict[str, np.ndarray]:
    """Plausible values of every component: a place in the middle half of its band, some noise."""
    rng, expected, out = np.random.default_rng(seed), Expected(site), {}
    for component in site.components(kind)[:12]:
        band = expected.band(kind, component, channel)
        if kind == "ups" and channel.startswith("voltage"):
            middle = (120.0, 208.0, 230.0, 400.0, 480.0)[int(at * 4.999)]
        elif channel.endswith("_c"):
            ours = {"loop": site.loop_supply_c, "rack": site.hall_supply_c, "node": site.hall_supply_c}[kind]
            middle = float(ours.min()) + 1.0 + 6.0 * at
        elif channel == "util_frac":
            middle = 0.05 + 0.9 * at
        elif band is not None and channel.endswith("_frac"):
            middle = max(band.low, 0.1) + at * (min(band.high, 0.95) - max(band.low, 0.1))
        elif channel == "on_battery_s":
            middle = 20.0 + 1800.0 * at
        elif channel == "runtime_s":
            middle = 3600.0 * float(site.ups_battery_kwh[0] / site.ups_rated_kw[0]) / (0.2 + 0.8 * at)
        else:
            assert band is not None
            middle = band.low / 0.4 + at * (band.high / 1.5 - band.low / 0.4)
        noise = 1.0 + 0.02 * swing * rng.standard_normal(n)
        out[component] = middle * noise
    return out


@hypothesis_settings(max_examples=examples(25))
@given(
    name=st.sampled_from(["tiny", "thousand", "liquid", "c3o"]),
    seeded=st.sampled_from(sorted(SEEDED)),
    at=st.floats(0.0, 1.0),
    swing=st.floats(0.1, 1.0),
    n=st.integers(3, 40),
)
def test_each_seeded_error_is_caught_and_its_truth_is_not(name, seeded, at, swing, n):
    kind, channel, wrong, said = SEEDED[seeded]
    site = site_of(name)
    right = truth(site, kind, channel, at, swing, n, seed=n)
    clean = judged(table_of({(c, channel): v.tolist() for c, v in right.items()}), site)
    assert clean.findings == []
    bad = judged(table_of({(c, channel): wrong(v).tolist() for c, v in right.items()}), site)
    assert len(bad.findings) >= 1, (seeded, {c: v[:3] for c, v in right.items()})
    assert any(said in f.looks_like for f in bad.findings), [f.looks_like for f in bad.findings]


MILLIJOULES = """
[[rule]]
match = "prometheus.DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
component = "{tag:Hostname}"
channel = "gpu_mean_kw"
unit = "J"
counter = true
combine = "sum"
"""


def test_millijoules_read_as_joules_are_told(tmp_path):
    site = site_of("thousand")
    node = next(n for n, g in zip(site.node_ids, site.node_gpus.tolist(), strict=True) if g)
    series = [
        Series.of("prometheus", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", {"Hostname": node, "gpu": str(g)})
        for g in range(8)
    ]
    counts = np.concatenate([5e9 + 400_000.0 * 60.0 * np.arange(20) for _ in series])  # 400 W each, in mJ
    samples = Samples(series, np.repeat(np.arange(8), 20), np.tile(T0 + 60_000 * np.arange(20), 8), counts, {})
    file = tmp_path / "m.toml"
    file.write_text(MILLIJOULES)
    (found,) = judged(samples, site, file).findings
    assert "millijoules" in found.looks_like
    assert 'unit = "mJ"' in found.cure
    file.write_text(MILLIJOULES.replace('"J"', '"mJ"'))
    assert judged(samples, site, file).findings == []


@pytest.mark.parametrize(
    ("factor", "said"), [(1e-3, "seconds read as milliseconds"), (1e3, "milliseconds read as seconds")]
)
def test_times_in_another_unit_are_told(factor, said):
    good = table_of({("lab/a/r01", "inlet_c"): [22.0, 22.5, 23.0]})
    bad = Samples(good.series, good.which, (good.time_ms * factor).astype(np.int64), good.value, {})
    assert judged(good, site_of("tiny")).findings == []
    (found,) = judged(bad, site_of("tiny")).findings
    assert (found.witness, said in found.looks_like) == ("clock", True)


# --- names and other channels -------------------------------------------------------------------------


def test_a_name_that_carries_a_unit_speaks_where_values_do_not(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text(
        '[[rule]]\nmatch = "apcupsd.time_on_battery_ns"\ncomponent = "lab/a/ups"\nchannel = "on_battery_s"\n'
        '[[rule]]\nmatch = "ups.upsBatteryVoltage"\ncomponent = "lab/a/ups"\nchannel = "battery_v"\n'
        '[[rule]]\nmatch = "x.room_fahrenheit"\ncomponent = "lab/a/r01/n01/psu1"\nchannel = "temp_c"\n'
    )
    series = [
        Series.of("apcupsd", "time_on_battery_ns"),
        Series.of("ups", "upsBatteryVoltage"),
        Series.of("x", "room_fahrenheit"),
    ]
    samples = Samples(series, np.arange(3), np.full(3, T0), np.array([45e9, 546.0, 70.0]), {})
    found = {f.channel: (f.witness, f.cure) for f in judged(samples, site_of("tiny"), file).findings}
    assert found == {
        "ups.on_battery_s": ("values", 'unit = "ns" in rule m.toml[0]'),
        "ups.battery_v": ("shipped rule", 'unit = "0.1 V" in rule m.toml[1]'),
        "psu.temp_c": ("name", 'unit = "F" in rule m.toml[2]'),
    }


def test_channels_that_must_agree_are_compared():
    site = site_of("tiny")
    nodes = [n for n in site.node_ids if n.startswith("lab/a/r01/")]
    rows = {(node, "power_kw"): [0.5, 0.5] for node in nodes} | {("lab/a/r01", "power_kw"): [8.0, 8.0]}
    rows |= {("lab/a/r02", "inlet_c"): [33.0, 33.0], ("lab/a/r02", "outlet_c"): [22.0, 22.0]}
    rows |= {("lab/a/ups", "load_frac"): [0.5, 0.5], ("lab/a/ups", "power_kw"): [5.0, 5.0]}
    found = {f.channel: f for f in judged(table_of(rows), site).findings if f.witness == "other channels"}
    assert set(found) == {"rack.power_kw", "rack.outlet_c", "ups.power_kw"}
    assert "4 x the sum of its nodes" in found["rack.power_kw"].found


def test_codes_in_a_flag_and_percent_for_turns():
    rows = {("lab/a/r01/n01", "ok"): [2.0, 2.0, 3.0], ("lab/a/r01/n01", "fan_rpm"): [40.0, 45.0]}
    found = {f.channel: f for f in judged(table_of(rows), site_of("tiny")).findings}
    assert "codes 2 3" in found["node.ok"].looks_like
    assert "enum" in found["node.ok"].cure
    assert "percent" in found["node.fan_rpm"].looks_like


def test_what_is_off_draws_next_to_nothing_and_is_no_error():
    rows = {(node, "power_kw"): [0.012, 0.014, 0.0] for node in site_of("tiny").node_ids}
    assert judged(table_of(rows), site_of("tiny")).findings == []


def test_watts_of_machines_that_are_off_are_told():
    rows = {(node, "power_kw"): [12.0, 14.0, 10.0] for node in site_of("tiny").node_ids}
    found = judged(table_of(rows), site_of("tiny")).findings
    assert {one.channel for one in found} == {"node.power_kw"}
    assert sum(one.series for one in found) == 32
    assert all("watt" in one.looks_like for one in found)


def test_a_counter_taken_for_a_power_is_told():
    rows = {("lab/a/r01/n01", "power_kw"): (5e9 + 24e6 * np.arange(10)).tolist()}
    (found,) = judged(table_of(rows), site_of("tiny")).findings
    assert "counter" in found.looks_like
    assert "counter = true" in found.cure


def test_what_no_unit_explains_is_told_all_the_same():
    rows = {("lab/a/r01", "inlet_c"): [4.2e9, 4.2e9, 4.2e9], ("lab/a/loop", "flow_frac"): [9.0, 9.1, 9.0]}
    found = {one.channel: one for one in judged(table_of(rows), site_of("tiny")).findings}
    assert set(found) == {"rack.inlet_c", "loop.flow_frac"}
    assert found["rack.inlet_c"].witness == "range"


def test_a_fault_in_the_middle_of_a_day_is_no_error_of_unit():
    heat = [22.0] * 60 + np.linspace(22.0, 75.0, 60).tolist() + [75.0] * 60
    assert judged(table_of({("lab/a/r01", "inlet_c"): heat}), site_of("tiny")).findings == []


# --- the rest of the report ---------------------------------------------------------------------------


def test_coverage_doubles_strangers_and_gaps(tmp_path):
    lines = [f"cpu,cpu=cpu-total,host=a-r01-n01 usage_idle={50 + n % 3} {(T0 + 10_000 * n) * 10**6}" for n in range(20)]
    lines += [f"cpu,cpu=cpu-total,host=a-r01-n01 usage_idle=50 {(T0 + 900_000) * 10**6}"]
    lines += [f"mem,host=nobody available_percent=50 {T0 * 10**6}", f"odd,host=a-r01-n01 thing=1 {T0 * 10**6}"]
    (tmp_path / "t.lp").write_text("\n".join(lines))
    (tmp_path / "m.toml").write_text('include = ["builtin:telegraf"]\n')
    got = run([str(tmp_path / "t.lp")], str(tmp_path / "m.toml"), "tiny", NOW)
    assert got["ok"] is False
    assert got["wrong"] == ["1 names are no component of the site: say under [hosts] which they are"]
    assert got["coverage_frac"] == pytest.approx(22 / 23)
    assert got["unmatched"] == [{"name": "odd.thing", "samples": 1}]
    assert got["unknown_components"] == [{"component": "nobody", "series": 1}]
    assert got["unreadable_rows"] == []
    row = next(one for one in got["readings"] if one["channel"] == "util_frac")
    assert (row["samples"], row["interval_s"], row["gaps"], row["longest_gap_s"]) == (21, 10.0, 1, 710.0)
    later = run([str(tmp_path / "t.lp")], str(tmp_path / "m.toml"), "tiny", NOW, "1min", 0.5)
    assert (later["samples"], later["ok"]) == (1, True)


def test_two_series_in_one_place_are_told_and_a_changed_tag_is_not():
    def one(status: str, at: list[int]) -> tuple[Series, list[int]]:
        return Series.of("rack", "inlet_c", {"component": "lab/a/r01", "status": status}), at

    for pairs, doubled in (
        ([one("x", [0, 1, 2]), one("y", [0, 1, 2])], True),
        ([one("x", [0, 1, 2]), one("y", [3, 4, 5])], False),
    ):
        times = np.concatenate([T0 + 60_000 * np.array(at) for _, at in pairs])
        samples = Samples([s for s, _ in pairs], np.repeat([0, 1], 3), times, np.full(6, 22.0), {})
        assert bool(judged(samples, site_of("tiny")).duplicates) is doubled


def test_rules_are_proposed_from_names_and_never_for_limits():
    kinds = kinds_of(site_of("tiny"))
    said = suggest(
        [
            Series.of("crah", "supply_air_temp_celsius", {"device": "a-crah1"}),
            Series.of("bmc", "inlet_temp_fahrenheit", {"bmc": "a-r01-n01"}),
            Series.of("bmc", "inlet_temp_max", {"bmc": "a-r01-n01"}),
            Series.of("zebra", "stripes", {}),
        ],
        kinds,
    )
    assert {one.channel for one in said} == {"cooling_unit.supply_c", "node.inlet_c"}
    assert 'component = "{cooling_unit:device}"' in next(o.toml for o in said if o.channel == "cooling_unit.supply_c")
    assert 'unit = "F"' in next(o.toml for o in said if o.channel == "node.inlet_c")


def test_rows_that_cannot_be_read_are_told_with_file_and_line_and_count_where_they_are_many(tmp_path):
    good = "".join(f"mem,host=a-r01-n01 available_percent=50 {(T0 + 1000 * n) * 10**6}\n" for n in range(99))
    (tmp_path / "t.lp").write_text(f"rubbish\n{good}")
    got = run([str(tmp_path / "t.lp")], "telegraf", "tiny", NOW)
    assert (got["ok"], got["unreadable"]) == (True, 1)
    assert got["unreadable_rows"][0]["row"].startswith("t.lp line 1: ")
    (tmp_path / "t.lp").write_text("rubbish\n" + good.splitlines()[0])
    got = run([str(tmp_path / "t.lp")], "telegraf", "tiny", NOW)
    assert got["ok"] is False
    assert got["wrong"][0].startswith("1 of 2 rows cannot be read, the first: t.lp line 1: ")


def test_of_nothing_there_is_no_coverage(tmp_path):
    (tmp_path / "t.lp").write_text("")
    got = run([str(tmp_path / "t.lp")], "telegraf", "tiny", NOW)
    assert (got["ok"], got["coverage_frac"], got["coverage_frac_reason"]) == (False, None, "no samples")


@pytest.mark.parametrize("name", ["folder", "folder.lp"])
def test_a_folder_in_the_place_of_a_file_is_called_one(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(TelemetryError, match="is a folder"):
        run([str(tmp_path / name)], None, None, NOW)


def test_what_is_called_by_the_opposite_is_not_proposed():
    def of(name: str) -> set[str]:
        tags = {"name": name, "source": "a-r01-n01"}
        return {one.channel for one in suggest([Series.of("redfish_x", "reading_celsius", tags)], None)}

    assert of("Exhaust Temp").isdisjoint({"node.inlet_c", "rack.inlet_c"})
    assert of("Inlet Temp").isdisjoint({"node.outlet_c", "rack.outlet_c"})
    assert not suggest([Series.of("cpu", "usage_idle", {"host": "a"})], {"a": "node"})


def test_a_proposal_reads_the_component_where_the_users_hosts_say_it_is():
    site = site_of("tiny")
    series = Series.of("upsd", "load_percent", {"model": "Smart", "serial": "S1", "ups_name": "ups-a"})
    (one,) = suggest([series], kinds_of(site), {"ups-a": site.ups_ids[0]})
    assert 'component = "{ups:ups_name}"' in one.toml


@pytest.mark.parametrize(
    ("times", "unit", "words"),
    [
        (1e-9, "s", "seconds read as nanoseconds"),
        (1e-6, "ms", "milliseconds read as nanoseconds"),
        (1 / 60, "min", "minutes read as seconds"),
        (1e9, "ns", "nanoseconds read as seconds"),
    ],
)
def test_a_run_time_far_from_charge_and_load_names_the_unit_it_was_written_in(times, unit, words):
    site = site_of("tiny")
    name, load = site.ups_ids[0], 0.4
    honest_s = 3600.0 * float(site.ups_battery_kwh[0]) / (load * float(site.ups_rated_kw[0]))
    rows = {(name, "runtime_s"): [honest_s * times] * 40, (name, "load_frac"): [load] * 40}
    found = [one.as_dict() for one in judged(table_of(rows), site).findings]
    assert any(words in one["looks_like"] or f'"{unit}"' in one["cure"] for one in found), found
