"""Shipped rules on recorded line protocol: Telegraf's inputs, the DCGM exporter, node_exporter; a short mapping."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from twin.telemetry.lineprotocol import parse
from twin.telemetry.mapping import Translated, load_mapping

DATA = Path(__file__).parent / "data" / "telegraf"

# A site of the lines' own names; ids as any site would have them.
KIND_OF = {
    **{f"x/h/r1/{name}": "node" for name in ("web483", "web484", "ali47xl", "test01", "naboo145", "naboo147", "node7")},
    **{f"x/h/r1/{name}/psu{n}": "psu" for name in ("web483", "node7") for n in (1, 2)},
    "x/h/name1": "ups", "x/h/name2": "ups", "x/h/pdu-6": "pdu", "x/h/pdu-7": "pdu", "x/h/pdu-8": "pdu",
    "x/h/crah1": "cooling_unit", "x/h/crah2": "cooling_unit", "x/h/ch1": "chiller", "x/a/loop": "loop",
    "x/feed-a": "feed", "x/h/cdu1": "cdu", "x/link-ab": "link",
}  # fmt: skip

# All that a site with a running Telegraf has to write.
SHORT = """\
include = ["builtin:telegraf", "builtin:dcgm", "builtin:node_exporter"]
[hosts]
'10\\.20\\.2\\.203' = "x/h/r1/node7"
"""


@cache
def read(name: str) -> Translated:
    folder = DATA.parent
    file = folder / "telegraf" / f"{name}.lp"
    mapping = short_mapping()
    return mapping.translate(parse(file.read_bytes()))


def short_mapping():
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "site.toml"
        file.write_text(SHORT)
        return load_mapping(file, KIND_OF)


EXPECTED = {
    "redfish": """
web483 cpu_c 41 | web483 inlet_c 25 | web483 fan_rpm 2050 | web483/psu1 voltage_in_v 120
web483/psu1 power_out_kw 0.325 | web483 power_kw 0.344 | web484 outlet_c 38 | web484 fan_frac 0.35""",
    "ipmi_sensor": """
node7/psu1 power_in_kw 0.11 | node7/psu2 power_in_kw 0.12 | node7 fan_frac 0.4312 | web483/psu1 power_in_kw 0.11
web483 fan_frac 0.4312 | web483 inlet_c 21 | web483 inlet_c 43 | web483 cpu_c 40 | web483 dimm_c 33 | web483 outlet_c 36
web483 fan_rpm 6480 | web483 power_kw 0.182""",
    "ups": """
name1 load_frac 0.097 | name1 runtime_s 9800 | name1 voltage_out_v 230.4 | name1 temp_c 32.4 | name1 battery_v 27.4
name1 frequency_hz 50.2 | name1 voltage_in_v 230.4 | name1 battery_frac 1 | name1 power_kw 0.412 | name1 ok 1
name1 ok 0
name2 load_frac 0.097 | name2 runtime_s 5880 | name2 voltage_out_v 230.4 | name2 temp_c 32.4 | name2 battery_v 27.4
name2 frequency_hz 50.2 | name2 voltage_in_v 230.4 | name2 battery_frac 1 | name2 on_battery_s 0 | name2 transfers 3
name2 runtime_s 5880 | name2 on_battery_s 45 | name2 transfers 4""",
    "snmp": """
name1 ok 1 | name1 on_battery_s 0 | name1 runtime_s 2520 | name1 battery_frac 1 | name1 battery_v 273.2
name1 battery_c 27 | name1 frequency_hz 49.9 | name1 voltage_in_v 228 | name1 voltage_out_v 229
name1 current_out_a 17.4
name1 power_kw 7.9 | name1 load_frac 0.41 | name1 ok 0 | name1 input_bads 0.0166667 | pdu-7 power_kw 4.23 | pdu-7 ok 1
pdu-7 current_a 9.1 | pdu-7 voltage_v 230 | pdu-8 ok 0 | pdu-6 power_kw 1.812 | crah1 supply_c 18 | crah1 return_c 31
link-ab ok 1 | link-ab ok 0 | link-ab errors 1 | link-ab discards 0.1""",
    "gpu": """
web483 gpu_c 58 | web483 gpu_mem_c 66 | web483 gpu_power_kw 1 | web483 gpu_cap_kw 1.4 | web483 gpu_util_frac 0.75
web483 gpu_clock_mhz 1755 | web483 gpu_rows_remapped 1 | web483 gpu_remap_failed 0 | web483 gpu_pcie_width 8
ali47xl gpu_c 29 | ali47xl gpu_mem_c 92 | ali47xl gpu_power_kw 0.007 | ali47xl gpu_util_frac 0
ali47xl gpu_clock_mhz 852""",
    "disks": """
web483 disk_c 51 | web483 disk_failing 1 | web483 disk_media_errors 2 | web483 disk_wear_frac 0.07
web483 disk_spare_frac 0.98 | web483 disk_realloc 8 | ali47xl disk_failing 0 | ali47xl disk_c 34
ali47xl disk_realloc 3""",
    "host": """
web483 ecc_ce 1 | web483 ecc_ue 0.0166667 | web483 util_frac 0.645 | web483 mem_free_frac 0.86206
web483 load 3.72 | ali47xl power_kw 0.311 | web483 cpu_c 29.5 | web483 fan_rpm 1211 | ali47xl cpu_c 63""",
    "network": """
web483 nic_errors 2 | web483 nic_drops 1 | ali47xl nic_errors 0.1 | ali47xl nic_drops 2 | test01 nic_errors 5""",
    "slurm": """
naboo145 cores_used 0 | naboo145 load 0 | naboo147 cores_used 36 | naboo147 load 38.26 | naboo147 cores_used 36
naboo147 load 38.01""",
    "plant": """
crah1 supply_c 18.4 | crah1 return_c 30.2 | crah1 fan_frac 0.62 | crah1 filter_kpa 0.11 | crah1 running 1
crah1 running 0 | ch1 running 1 | ch1 power_kw 5.2 | x/a/loop supply_c 11.2 | x/a/loop return_c 16.8
x/a/loop pressure_kpa 120 | feed-a frequency_hz 60 | feed-a power_kw 61 | feed-a voltage_v 123.9 | crah2 supply_c 19.1
cdu1 coolant_c 30.5 | cdu1 return_c 39.1 | cdu1 flow_lpm 2000""",
    "prometheus": """
web483 gpu_c 61 | web484 gpu_c 31 | web484 gpu_power_kw 0.0725 | web484 gpu_clock_mhz 139 | web484 gpu_util_frac 0.37
web484 gpu_rows_remapped 2 | web484 gpu_remap_failed 0 | web484 gpu_tensor_frac 0.25 | web484 gpu_mean_kw 0.07
web484 gpu_pcie_replays 0.1 | web484 gpu_throttle_frac 0.25 | web484 gpu_ecc_ce 1 | web484 gpu_ecc_ue 0
web484 gpu_nvlink_errors 2 | web483 load 1.21 | web483 cpu_c 55 | web483 disk_c 38.85 | web483 fan_rpm 1098
web483 util_frac 0.625 | web483 ecc_ce 0.1 | web483 ecc_ue 0.0166667 | web483 cpu_throttles 1""",
}

EVENTS = {
    "redfish": "web483/psu1 health Warning | web484 disk_health Critical",
    "ipmi_sensor": "web483 alarm nc",
    "ups": "name1 ups_status low_battery | name1 ups_status on_battery | name1 ups_words OB | name2 ups_transfer 4",
    "snmp": """
name1 ups_battery low | name1 ups_path battery | name1 input_bad 4 | pdu-8 pdu_load overload | link-ab link down""",
    "gpu": "web483 gpu_slowdown active",
    "disks": "web483 disk_health failing",
    "host": "web483 memory_error uncorrectable | web483 machine_check processor_base_errors",
    "network": "ali47xl link down | test01 link down",
    "slurm": "naboo147 sched_state drained",
    "plant": "crah1 switch off",
    "prometheus": "web484 xid 79 | web483 memory_error uncorrectable",
}


def said(text: str) -> list[str]:
    return sorted(one.strip() for one in re.split(r"[|\n]", text.strip()))


def short(component: str) -> str:
    return re.sub(r"^x/(h/)?(r1/)?", "", component) if component != "x/a/loop" else component


@pytest.mark.parametrize("name", EXPECTED)
def test_what_an_input_prints_becomes_what_we_mean(name):
    got = read(name)
    rows = [f"{short(component)} {channel} {value:.6g}" for _, component, channel, value in got.batch.rows()]
    assert sorted(rows) == said(EXPECTED[name])
    assert got.unmatched == {}
    assert got.refused == []


@pytest.mark.parametrize("name", EXPECTED)
def test_what_happened_is_an_event_once(name):
    rows = [f"{short(event.component)} {event.type} {event.code.split(':')[0]}" for event in read(name).events]
    assert sorted(rows) == said(EVENTS[name])


def test_events_say_what_they_are_about_and_any_store_takes_them():
    from twin.telemetry.store import event_ok

    events = [event for name in EXPECTED for event in read(name).events]
    assert all(event_ok(event) for event in events)
    assert {"79:gpu0", "nc:inlet_ambient", "uncorrectable:0_memory_read_uncorrectable_errors"} <= {
        e.code for e in events
    }


def test_every_recorded_file_is_tested():
    assert {file.stem for file in DATA.glob("*.lp")} == set(EXPECTED) == set(EVENTS)


def test_every_reading_is_let_in_by_the_gate():
    from twin.telemetry.admit import Gate

    gate = Gate(KIND_OF)
    for name in EXPECTED:
        good, bad = gate.admit(read(name).batch, 1_800_000_000_000)
        assert [(one.component, one.channel, one.reason) for one in bad] == []
        assert len(good)


def test_a_site_that_runs_telegraf_writes_at_most_fifteen_lines():
    lines = [line for line in SHORT.splitlines() if line.strip()]
    assert len(lines) <= 15
    placed = sum(len(read(name).batch) for name in EXPECTED)
    assert placed > 120


def test_both_schemas_of_prometheus_are_one():
    mapping = short_mapping()
    one = "DCGM_FI_DEV_GPU_TEMP,Hostname=web483,gpu=0 gauge=54 1"
    two = "prometheus,Hostname=web483,gpu=0 DCGM_FI_DEV_GPU_TEMP=55 9000000000"
    got = mapping.translate(parse(f"{one}\n{two}"))
    assert got.batch.value.tolist() == [54.0, 55.0]


# --- the page -------------------------------------------------------------------------------------

PAGE = DATA.parent.parent.parent / "docs" / "telemetry.md"


def test_the_mappings_of_the_page_are_read_and_the_first_has_at_most_fifteen_lines(tmp_path):
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    ours = [block for block in blocks if "[[rule]]" in block or "include =" in block]
    assert len(ours) == 2
    assert len(ours[0].strip().splitlines()) <= 15
    for n, block in enumerate(ours):
        file = tmp_path / f"{n}.toml"
        file.write_text(block)
        load_mapping(file, KIND_OF)
    mapping = load_mapping(tmp_path / "0.toml", {"east/h1/r01/n17": "node", "east/h1/ups": "ups"})
    lines = [
        "redfish_thermal_temperatures,name=Inlet,source=web-17-bmc reading_celsius=22 1",
        "cpu,cpu=cpu-total,host=web-17 usage_idle=40 1",
        "upsd,ups_name=ups-a load_percent=50 1",
        "system,host=r01-n17 load1=2 1",
    ]
    rows = [
        (component, channel) for _, component, channel, _ in mapping.translate(parse("\n".join(lines))).batch.rows()
    ]
    assert sorted(rows) == [
        ("east/h1/r01/n17", "inlet_c"), ("east/h1/r01/n17", "load"), ("east/h1/r01/n17", "util_frac"),
        ("east/h1/ups", "load_frac"),
    ]  # fmt: skip


def test_what_the_page_calls_understood_has_a_rule():
    text = PAGE.read_text(encoding="utf-8")
    listed = re.search(r"\*\*What is understood\.\*\* Telegraf's (.*?); the DCGM", text, re.DOTALL)
    assert listed is not None
    rules = (DATA.parent.parent.parent / "data" / "mappings" / "telegraf.toml").read_text(encoding="utf-8")
    names = [name for name in re.findall(r"`(\w+)`", listed.group(1)) if name not in ("prometheus", "snmp")]
    assert len(names) >= 19
    assert [name for name in names if name not in rules] == []
