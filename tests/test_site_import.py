"""`site import`: what goes in comes out as the same nodes, what is assumed is said, what is wrong is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from plant.errors import ConfigError, ForetwinError
from plant.nodelist import natural
from plant.nodetable import read_table
from plant.rackfold import Finder, Placed, fold, rack_groups
from plant.ranges import expand
from plant.site import load_site
from plant.slurmnodes import read_json, read_text
from plant.slurmtext import accelerators, hosts, states, tres, whole
from twin.engine import Engine
from twin.ensemble import make_state
from twin.jobs import make_jobs
from verbs.site_import import read_list, run

CONF = r"""
ClusterName=alps        # a comment
NodeName=DEFAULT CPUs=128 Sockets=2 CoresPerSocket=32 ThreadsPerCore=2 RealMemory=256000
NodeName=n[001-960] Feature=rack1,ib \
   State=UNKNOWN
NodeName=gpu[1-4],viz1 Gres=gpu:a100:8 State=CLOUD
NodeName=next[1-9] State=FUTURE
PartitionName=batch Nodes=ALL Default=YES
"""
CONTROL = (
    "NodeName=n1 Arch=x86_64 CoresPerSocket=24 CPUAlloc=0 CPUTot=96 AvailableFeatures=rack3,hall-b Gres=(null)"
    " OS=Linux 6.1 #1 SMP State=IDLE+DRAIN ThreadsPerCore=2 Sockets=2 Reason=fan State=UP NodeName=x [root@2026]\n"
)
# The shape of Slurm 24.11 and 25.11.
NEWER = {
    "nodes": [
        {"name": f"c{i}", "sockets": 2, "cores": 32, "threads": 2, "cpus": 128, "state": ["DOWN", "DYNAMIC_NORM"],
         "features": ["rack1"], "gres": "gpu:fake1:1(S:0),gpu:fake2:1(S:0)", "boot_time": {"set": True, "number": 0}}
        for i in (1, 2)
    ]
}  # fmt: skip
GROUPED = {
    "sinfo": [
        {"node": {"state": ["IDLE", "DRAIN"]}, "nodes": {"nodes": ["d[1-3]"]}, "cpus": {"maximum": 48},
         "sockets": {"maximum": 2}, "cores": {"maximum": 12}, "threads": {"maximum": 2}, "gres": {"total": ""},
         "features": {"total": "rack9"}},
        {"node": {"state": ["IDLE"]}, "nodes": {"nodes": ["d3", "d4"]}, "cpus": {"maximum": 48}},
    ]
}  # fmt: skip


def short(site: Any) -> list[str]:
    return sorted((name.rpartition("/")[2] for name in site.node_ids), key=natural)


def imported(tmp_path: Path, name: str, text: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    file = tmp_path / name
    file.write_text(text)
    results = run(str(file), out=str(tmp_path / "out.toml"), **more)
    return load_site(tmp_path / "out.toml"), results


def refused(tmp_path: Path, content: bytes, **more: Any) -> list[str]:
    file = tmp_path / "list"
    file.write_bytes(content)
    with pytest.raises(ForetwinError) as caught:
        run(str(file), out=str(tmp_path / "out.toml"), **more)
    assert not (tmp_path / "out.toml").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["list"], "nothing half-done is left"
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.faults), "one line each"
    return lines


# --- how Slurm writes ---------------------------------------------------------------------------


def test_the_words_of_slurm() -> None:
    assert hosts("n[01-03,7],gpu-a,m[1-2]-ib") == ("n01", "n02", "n03", "n7", "gpu-a", "m1-ib", "m2-ib")
    assert states("IDLE+DRAIN*") == ("IDLE", "DRAIN", "NOT_RESPONDING")
    assert states(["DOWN", "NOT_RESPONDING"]) == ("DOWN", "NOT_RESPONDING")
    assert states("mixed#") == ("MIXED", "POWERING_UP")
    assert accelerators("gpu:a100:4(S:0-1),shard:8") == (4, "a100")
    assert accelerators("gpu:tesla:2,gpu:kepler:2") == (4, "tesla")
    assert accelerators("gpu") == (1, "")
    assert accelerators("gpu:8") == (8, "")
    assert accelerators("craynetwork:4") == (0, "")
    assert tres("cpu=8,mem=64G,node=2,gres/gpu=4")["gres/gpu"] == 4.0
    assert [whole(v) for v in (7, 7.0, None, {"set": False, "number": 3}, {"infinite": True, "number": 0})] == [
        7, 7, None, None, None,
    ]  # fmt: skip
    assert whole(4294967294) is None


def test_scontrol_in_one_line_and_in_many() -> None:
    one = read_text(CONTROL).nodes
    many = read_text(CONTROL.replace(" CPUAlloc", "\n   CPUAlloc").replace(" Reason", "\n   Reason")).nodes
    assert one == many
    node = one[0]
    assert (node.name, node.cores, node.gpus, node.features) == ("n1", 48, 0, ("rack3", "hall-b"))
    assert node.state == ("IDLE", "DRAIN"), "what looks like a key in the reason is a part of the reason"


def test_slurm_conf_with_defaults_ranges_and_nodes_to_come() -> None:
    found = read_text(CONF)
    assert not found.faults
    assert [n.name for n in found.nodes][-5:] == ["gpu1", "gpu2", "gpu3", "gpu4", "viz1"]
    assert len(found.nodes) == 965
    assert {(n.cores, n.gpus, n.gpu) for n in found.nodes} == {(64, 0, ""), (64, 8, "a100")}
    assert any("next[1-9]" in note.value for note in found.notes)


def test_json_of_newer_versions() -> None:
    nodes = read_json(json.dumps(NEWER)).sound("x").nodes
    assert [(n.name, n.cores, n.gpus, n.state) for n in nodes] == [
        (f"c{i}", 64, 2, ("DOWN", "DYNAMIC_NORM")) for i in (1, 2)
    ]
    grouped = read_json(json.dumps(GROUPED)).sound("x").nodes
    assert [n.name for n in grouped] == ["d1", "d2", "d3", "d4"], "a node of two partitions counts once"
    assert [n.cores for n in grouped] == [24, 24, 24, 48]


# --- ranges -------------------------------------------------------------------------------------

names = st.lists(st.from_regex(r"[a-z]{1,3}-?[0-9]{1,4}(-[a-z][0-9]{1,2})?", fullmatch=True), min_size=1, max_size=12)


@settings(max_examples=examples(30))
@given(names)
def test_what_is_folded_unfolds_to_the_same_names_in_the_same_order(some: list[str]) -> None:
    text = fold(some)
    unique = len(set(some)) == len(some)
    assert text is None or not unique or list(expand(text)) == some


@settings(max_examples=examples(50))
@given(racks=st.integers(1, 40), each=st.integers(1, 20), start=st.integers(0, 3000))
def test_regular_names_fold_into_one_group(racks: int, each: int, start: int) -> None:
    placed = [
        Placed(f"n{start + r * each + i:05d}", "s/h", f"r{r + 1}", "cpu") for r in range(racks) for i in range(each)
    ]
    groups, notes = rack_groups(placed, {"cpu": 0.8})
    assert [(g.ids, g.nodes_per_rack) for g in groups] == [(f"r[1-{racks}]" if racks > 1 else "r1", each)]
    assert list(expand(groups[0].nodes)) == [p.name for p in placed]
    assert not notes


@settings(max_examples=5)
@given(names, st.integers(0, 5))
def test_import_then_load_gives_the_same_nodes(tmp_path_factory: Any, some: list[str], per_rack: int) -> None:
    wanted = sorted(set(some), key=natural)
    folder = tmp_path_factory.mktemp("import")
    site, _ = imported(folder, "list.csv", "node\n" + "\n".join(wanted), nodes_per_rack=per_rack)
    assert short(site) == wanted


# --- whole lists --------------------------------------------------------------------------------


def test_a_slurm_conf_becomes_a_site_of_racks_and_accelerators(tmp_path: Path) -> None:
    site, results = imported(tmp_path, "slurm.conf", CONF, pue=1.25)
    assert short(site) == sorted([n.name for n in read_text(CONF).nodes], key=natural)
    assert results["accelerators"] == 5 * 8
    assert float(site.region_pue[0]) == 1.25
    text = (tmp_path / "out.toml").read_text()
    assert 'nodes = "n[001-' in text
    assert 'like = "dgx-a100"' in text
    assert "[assumed]" in text
    assert {"power", "cooling", "ups", "pue"} <= {row["what"] for row in results["items"]}


def test_racks_and_halls_are_read_from_features_names_and_columns(tmp_path: Path) -> None:
    listing = "".join(CONTROL.replace("n1 ", f"n{i} ").replace("rack3", f"rack{i % 2}") for i in range(6))
    site, _ = imported(tmp_path, "nodes.txt", listing, rack_from=r"feature:rack(\d+)", hall_from="feature:^hall-(.)$")
    assert set(site.rack_ids) == {"site/b/r0", "site/b/r1"}
    assert "site/b/r1/n5" in site.node_ids
    table = "Hostname;Rack;Room;Max Power (W)\r\na1;7;A;700\r\na2;7;A;720\r\na3;8;B;6500\r\n"
    site, results = imported(tmp_path, "list.csv", table, force=True)
    assert site.rack_ids == ("site/A/r7", "site/B/r8")
    assert site.node_peak_kw.tolist() == pytest.approx([0.72, 0.72, 0.72]) or max(site.node_peak_kw) < 6.6
    assert any(row["value"] == "column 'Max Power (W)'" for row in results["items"])
    site, _ = imported(tmp_path, "plain.csv", "n1\nn2\n", rack_from=r"name:n(\d)", force=True)
    assert site.rack_ids == ("site/hall/r1", "site/hall/r2")


def test_accelerators_make_their_own_types_and_power_hangs_together(tmp_path: Path) -> None:
    rows = ["node,gpus,cores,peak_kw"]
    rows += [
        f"g{i},gpu:{kind},{cores}," for i, (kind, cores) in enumerate([("v100:1", 20), ("l4:16", 8), ("h100:4", 96)])
    ]
    rows += ["w1,8,64,1.5", "w2,0,2048,", "w3,0,1,0.06", "w4,0,8,190"]
    site, _ = imported(tmp_path, "list.csv", "\n".join(rows))
    assert site.node_gpus.tolist().count(0) == 3
    assert sorted(site.node_gpus.tolist()) == [0, 0, 0, 1, 4, 8, 16]


@pytest.mark.parametrize(
    ("column", "value", "kw"),
    [("peak_w", "700", 0.7), ("peakW", "700", 0.7), ("Max Watts", "700", 0.7), ("peak_kw", "0.7", 0.7),
     ("PeakKW", "0.7", 0.7), ("TDP (W)", "700", 0.7), ("power [kW]", "0.7", 0.7), ("watts", "700", 0.7)],
)  # fmt: skip
def test_power_columns_carry_their_unit_in_the_name(column: str, value: str, kw: float) -> None:
    found = read_table(f"node,{column}\nn1,{value}\n")
    assert not found.faults
    assert found.nodes[0].peak_kw == pytest.approx(kw)


def test_a_wrong_column_does_not_flood(tmp_path: Path) -> None:
    rows = "".join(f"n{i},800\n" for i in range(500))
    lines = refused(tmp_path, f"node,peak_kw\n{rows}".encode())
    assert len(lines) == 21
    assert "480 faults more" in lines[-1]


def test_an_imported_site_runs_cool_at_full_load(tmp_path: Path) -> None:
    rows = "".join(f"x{i},{400 + i % 7 * 100},r{i // 20}\n" for i in range(40)) + "g1,10000,r9\n"
    site, _ = imported(tmp_path, "list.csv", f"node,peak_w,rack\n{rows}", pue=1.15)
    n = len(site.node_ids)
    jobs = make_jobs([f"j{i}" for i in range(n)], arrival_ms=np.zeros(n, np.int64), work_s=np.full(n, 1e9))
    state = make_state(site, 0, members=1, seed=0, jobs=jobs)
    engine = Engine(state, site)
    engine.run(3_600_000)
    assert 21.0 < state.rack_inlet_c.min() <= state.rack_inlet_c.max() < 26.0
    assert state.node_stops.max() == 0
    assert float(engine.derived.facility_kw.sum() / engine.derived.node_kw.sum()) < 1.35


def test_what_sinfo_prints_is_a_list_too(tmp_path: Path) -> None:
    text = "NODELIST  CPUS  GRES          AVAIL_FEATURES  STATE\nn1        64    (null)        rack1,ib        idle*\n"
    text += "n1        64    (null)        rack1,ib        idle*\ng1        96    gpu:a100:8    rack2,ib        mix\n"
    site, _ = imported(tmp_path, "sinfo.txt", text)
    assert site.node_ids == ("site/hall/r1/n1", "site/hall/r2/g1")
    assert site.node_gpus.tolist() == [0, 8]
    plain = "PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST\nbatch*       up   infinite      3   idle n[1-3]\n"
    assert [n.name for n in read_table(plain).nodes] == ["n1", "n2", "n3"], "NODES is a count"
    lines = refused_again(
        tmp_path, text.replace("n1        64    (null)        rack1,ib        idle*", "n1 32 - r idle", 1)
    )
    assert any("n1 stands there twice" in line for line in lines), "the same node with other numbers"


def refused_again(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "again").mkdir()
    return refused(tmp_path / "again", text.encode())


def test_a_rule_names_the_type(tmp_path: Path) -> None:
    site, _ = imported(tmp_path, "list.csv", "node\nhgx1\nhgx2\nweb1\n", types=("^hgx=dgx-h100",))
    assert sorted(site.node_gpus.tolist()) == [0, 8, 8]
    with pytest.raises(ConfigError, match="dgx-h100"):
        run(str(tmp_path / "list.csv"), out=str(tmp_path / "b.toml"), types=("x=dgx-h10",))


def test_a_column_of_readings_is_a_list_of_nodes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"bmc": ["n1", "n2", "n1", None], "value": [1.0, 2.0, 3.0, 4.0]}), tmp_path / "x.parquet")
    assert [n.name for n in read_list(str(tmp_path / "x.parquet"), "bmc").nodes] == ["n1", "n2"]
    with pytest.raises(ConfigError, match="bmc value"):
        read_list(str(tmp_path / "x.parquet"))
    text = "time,bmc,value\n1,n1,2\n2,n1,3\n3,n2,4\n"
    assert [n.name for n in read_table(text, "bmc").nodes] == ["n1", "n2"]


def test_nodes_of_a_real_cluster(shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / "harvard_ipmi_day" / "sensors.parquet"
    results = run(str(file), column="node", out=str(tmp_path / "h.toml"), rack_from=r"name:^([a-z]+\d[ac]\d{3})")
    wanted = {n.name for n in read_list(str(file), "node").nodes}
    site = load_site(tmp_path / "h.toml")
    assert set(short(site)) == wanted
    assert len(site.node_ids) == len(wanted) == results["counts"]["node"]


# --- what is refused ----------------------------------------------------------------------------


def test_nothing_is_written_over(tmp_path: Path) -> None:
    _, first = imported(tmp_path, "list.csv", "node\nn1\n")
    before = (tmp_path / "out.toml").read_text()
    with pytest.raises(ConfigError, match="--force"):
        imported(tmp_path, "list.csv", "node\nn2\n")
    assert (tmp_path / "out.toml").read_text() == before
    site, second = imported(tmp_path, "list.csv", "node\nn2\n", force=True)
    assert short(site) == ["n2"]
    assert first["hash"] != second["hash"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \r\n \n", "is empty"),
        (b"\x7fELF\x02\x01\x01\x00\x00\xff", "not UTF-8"),
        (b"node\nn1\x00\n", "is no text"),
        (b"PAR1garbagePAR1", "cannot be read"),
        (b"node\nn1\nn2\nn1\n", "n1 stands there twice"),
        (b"host,x\nn1,2,3\n", "3 values for 2 columns"),
        (b"colour,weight\nred,3\n", "looks like the node's name"),
        (b"node,gpus\nn1,many\n", "gpus is 'many'"),
        (b"node,peak_kw\nn1,800\n", "is the column in W?"),
        (b"node\nn 1/2\n", "node name"),
        (b"NodeName=n[1-2] State=BANANA\n", "state 'BANANA'"),
        (b"NodeName=n[9-1]\n", "runs backwards"),
        (b"NodeName=n[1-2] CPUs=lots\n", "cpus is 'lots'"),
        (b"NodeName=n[1-99999999]\n", "more than"),
        (b"NodeName=n1\nNodeName=n[1-2]\n", "n1 stands there twice"),
        (b'{"nodes": [{"name": ', "is no JSON"),
        (b'{"jobs": []}', "a list `nodes` or `sinfo`"),
        (b'{"nodes": [{"hostname": "x"}]}', "has no name"),
        (b"[1, 2]", "a list `nodes` or `sinfo`"),
        (b'{"nodes": []}', "names no node"),
    ],
)
def test_bad_lists_are_refused_in_one_line_each(tmp_path: Path, content: bytes, says: str) -> None:
    lines = refused(tmp_path, content)
    assert any(says in line for line in lines), lines


def test_every_fault_comes_at_once_and_windows_line_ends_are_none(tmp_path: Path) -> None:
    lines = refused(tmp_path, b"node,gpus,cores\r\nn1,x,4\r\nn2,1,y\r\nn1,1,4\r\n")
    assert len(lines) == 3
    assert all(f"line {n}" in line for n, line in zip((2, 3, 4), lines, strict=True))
    site, _ = imported(tmp_path, "windows.csv", "\ufeffnode,rack\r\nn1,r1\r\n")
    assert site.node_ids == ("site/hall/r1/n1",)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"rack_from": "feature:rack(\\d+"}, "is no pattern"),
        ({"rack_from": "feature:cab(\\d+)"}, "names a rack for none"),
        ({"hall_from": "name:zz"}, "names a hall for none"),
        ({"pue": 1.01}, "at least"),
        ({"column": "hots"}, "did you mean 'host'"),
        ({"region": "a b"}, "region"),
    ],
)
def test_bad_options_say_what_they_want(tmp_path: Path, option: dict[str, Any], says: str) -> None:
    lines = refused(tmp_path, b"host\nn1\nn2\n", **option)
    assert any(says in line for line in lines), lines


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    for path, says in ((tmp_path, "is a folder"), (tmp_path / "none", "no such file")):
        with pytest.raises(ConfigError, match=says):
            read_list(str(path))


def test_the_first_group_that_fits_names_the_rack() -> None:
    node = read_text(CONTROL).nodes[0]
    assert Finder.parse(r"feature:rack(\d+)", "x").of(node) == "3"
    assert Finder.parse(r"name:^n", "x").of(node) == "n"
    assert Finder.parse(r"(n)(\d)", "x").of(node) == "n-1"
