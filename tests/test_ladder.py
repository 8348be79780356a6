"""The ladder holds: imports go down, heavy things stay out of the light rungs, clocks and chance stay at the doors."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time

import pytest
from imports import DOORS, LADDER, ROOT, graph, imports_of, nodes, reached, resolve, sources, tree

MODULES = sources()
RUNG = {name: height for height, name in enumerate(LADDER)} | dict.fromkeys(DOORS, len(LADDER))
# verbs.warm only lets the kernels compile
EMULATOR_DOORS = ("verbs.demo", "verbs.replay", "verbs.trial", "verbs.warm")
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60


def rung_of(module: str) -> str:
    return module.split(".")[0]


def named(faults: list[str]) -> str:
    return "\n".join(["", *sorted(faults)])


# --- the ladder -------------------------------------------------------------------------------


def test_imports_only_go_down_the_ladder():
    faults = []
    for module, path in MODULES.items():
        here = rung_of(module)
        for found in imports_of(module, path):
            there = rung_of(found.module)
            if there in RUNG and there != here and RUNG[there] >= RUNG[here] and here not in DOORS:
                faults.append(f"{path.relative_to(ROOT)}:{found.line} {here} imports {there}")
    assert not faults, named(faults)


def test_front_doors_are_imported_by_nobody():
    faults = [f"{module} imports {door}" for module, to in graph().items() for door in DOORS if door in to - {module}]
    assert not faults, named(faults)


@pytest.mark.parametrize(
    ("rung", "foreign"),
    [
        ("plant", ("simpy", "torch", "pytorch_lightning", "lightning", "streamlit", "influxdb_client")),
        ("twin", ("torch", "pytorch_lightning", "lightning", "streamlit")),
        ("energy", ("simpy", "torch", "pytorch_lightning", "lightning", "streamlit")),
        ("scheduler", ("streamlit",)),
        ("recovery", ("streamlit",)),
        ("screens", ("simpy", "torch", "pytorch_lightning", "lightning")),
    ],
)
def test_light_rungs_never_name_heavy_packages(rung, foreign):
    faults = []
    for module, path in MODULES.items():
        if rung_of(module) == rung:
            for found in imports_of(module, path):
                if rung_of(found.module) in foreign:
                    faults.append(f"{path.relative_to(ROOT)}:{found.line} imports {found.module}")
    assert not faults, named(faults)


@pytest.mark.parametrize(
    ("start", "foreign"),
    [
        ("energy", ("simpy", "torch", "pytorch_lightning")),
        ("twin", ("torch", "pytorch_lightning")),
        ("cli", ("torch", "pytorch_lightning", "pandas", "streamlit", "scipy", "sklearn")),
        ("app", ("torch", "pytorch_lightning")),
    ],
)
def test_importing_a_light_part_loads_nothing_heavy(start, foreign):
    edges = graph(eager_only=True)
    faults = []
    for module in MODULES:
        if rung_of(module) == start:
            ways = reached(module, edges)
            faults += [" -> ".join(ways[heavy]) for heavy in foreign if heavy in ways]
    assert not faults, named(faults)


@pytest.mark.parametrize(("rung", "hidden"), [("twin", ["torch"]), ("energy", ["torch", "simpy"])])
def test_light_rungs_import_where_heavy_packages_are_missing(rung, hidden):
    modules = [module for module in MODULES if rung_of(module) == rung]
    code = (
        "import importlib, sys\n"
        f"for name in {hidden!r}: sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_only_demo_and_replay_know_the_emulator():
    faults = []
    for module, path in MODULES.items():
        if module.startswith(("twin.emulator", *EMULATOR_DOORS)):
            continue
        for found in imports_of(module, path):
            if found.module.startswith("twin.emulator"):
                faults.append(f"{path.relative_to(ROOT)}:{found.line} imports the emulator")
    assert not faults, named(faults)


def port_implementations() -> set[str]:
    """Modules that can touch something real: a class with the verbs of a port, the emulator, and who executes."""
    verbs = ({"cordon", "uncordon"}, {"set_point", "feed"})
    found = {m for m in MODULES if m.startswith(("twin.emulator", "recovery.execute"))}
    for module, path in MODULES.items():
        if rung_of(module) not in ("scheduler", "recovery"):
            continue
        for node in nodes(path):
            if isinstance(node, ast.ClassDef) and "Protocol" not in {ast.unparse(base) for base in node.bases}:
                methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                if any(verb <= methods for verb in verbs):
                    found.add(module)
    return found


def test_rehearsal_has_no_path_to_a_port():
    edges, ports = graph(), port_implementations()
    rehearsals = [module for module in MODULES if module.startswith("recovery.rehearse")]
    faults = [" -> ".join(way) for module in rehearsals for to, way in reached(module, edges).items() if to in ports]
    assert not faults, named(faults)


def test_no_screen_can_reach_a_port_or_the_emulator():
    edges = graph()
    forbidden = {
        m
        for m in edges
        if m.startswith(
            (
                "twin.emulator",
                "scheduler.",
                "recovery.execute",
                "recovery.plant_",
                "recovery.emulated_",
                "recovery.loop",
            )
        )
    }
    for module in [m for m in edges if m.startswith(("screens", "app"))]:
        ways = reached(module, edges)
        assert not forbidden & ways.keys(), [ways[one] for one in forbidden & ways.keys()]


def test_package_doors_hold_no_logic():
    faults = []
    for module in LADDER:
        body = tree(MODULES[module]).body
        if not all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign) for node in body):
            faults.append(f"{module}/__init__.py holds more than its docstring and names")
    assert not faults, named(faults)


# --- clocks and chance ------------------------------------------------------------------------

CLOCKS = re.compile(r"^(\w+\.)?_?(datetime|date)\.(now|utcnow|today)$|^_?time\.(time|time_ns|localtime|gmtime)$")
CHANCE = re.compile(r"^(random|secrets)\.|^os\.urandom$|^uuid\.uuid[14]$")
SEEDED = {"Generator", "SeedSequence", "Philox", "PCG64", "BitGenerator"}


def reads_clock_or_chance(node: ast.AST) -> str | None:
    """What an expression reads that should have been passed in, or None."""
    if not isinstance(node, ast.Attribute | ast.Call):
        return None
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        if CLOCKS.match(name) or CHANCE.match(name):
            return name
        if re.match(r"^(np|numpy)\.random\.\w+$", name) and name.split(".")[2] not in SEEDED | {"default_rng"}:
            return name
        return None
    if re.match(r"^((np|numpy)\.random\.)?default_rng$", ast.unparse(node.func)) and not node.args:
        return "default_rng() without a seed"
    return None


def test_no_clock_and_no_chance_below_the_front_doors_and_the_loop():
    faults = []
    for module, path in MODULES.items():
        if rung_of(module) in ("verbs", *DOORS) or module == "recovery.loop":
            continue
        for node in nodes(path):
            read = reads_clock_or_chance(node)
            if read:
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno} reads {read}: let the caller pass it in")
        for found in imports_of(module, path):
            if rung_of(found.module) in ("random", "secrets") or re.match(r"^time\.(time|time_ns)$", found.module):
                faults.append(f"{path.relative_to(ROOT)}:{found.line} imports {found.module}")
    assert not faults, named(faults)


@pytest.mark.parametrize(
    ("code", "caught"),
    [
        ("datetime.now(UTC)", True),
        ("datetime.datetime.utcnow()", True),
        ("dt.datetime.now()", True),
        ("time.time()", True),
        ("np.random.rand(3)", True),
        ("np.random.default_rng()", True),
        ("uuid.uuid4()", True),
        ("time.perf_counter()", False),
        ("time.monotonic()", False),
        ("np.random.default_rng(seed)", False),
        ("np.random.Generator(bits)", False),
        ("clock.now()", False),
    ],
)
def test_the_clock_rule_sees_what_it_should(code, caught):
    assert any(reads_clock_or_chance(node) for node in ast.walk(ast.parse(code))) is caught


# --- size and words ---------------------------------------------------------------------------


def public_definitions(path):
    """Top-level classes and functions without a leading underscore."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [node for node in tree(path).body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_modules_and_public_names_say_what_they_mean():
    faults = []
    for path in MODULES.values():
        where = path.relative_to(ROOT)
        if not ast.get_docstring(tree(path)):
            faults.append(f"{where}: no module docstring")
        faults += [
            f"{where}:{n.lineno} {n.name}: no docstring" for n in public_definitions(path) if not ast.get_docstring(n)
        ]
    assert not faults, named(faults)


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its decorators and its docstring."""
    length = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node):
        length -= first.end_lineno - first.lineno + 1
    return length


def test_files_and_functions_stay_small():
    faults = []
    for path in MODULES.values():
        where = path.relative_to(ROOT)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            faults.append(f"{where}: {lines} lines, at most {MAX_FILE_LINES}")
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > MAX_FUNCTION_LINES:
                faults.append(
                    f"{where}:{node.lineno} {node.name}: {code_lines(node)} lines, at most {MAX_FUNCTION_LINES}"
                )
    assert not faults, named(faults)


def test_no_unfinished_marks():
    mark = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
    faults = []
    for path in [*MODULES.values(), *(ROOT / "tests").rglob("*.py")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if mark.search(line):
                faults.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")
    assert not faults, named(faults)


# --- the command starts at once ---------------------------------------------------------------


def test_importing_the_command_loads_nothing_heavy():
    assert "cli" in MODULES, "cli.py, the front door of the command, is missing"
    code = "import sys, cli; print([m for m in ('torch', 'pytorch_lightning', 'pandas', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_help_answers_within_half_a_second():
    assert "cli" in MODULES, "cli.py, the front door of the command, is missing"
    code = "import sys; from cli import main; sys.argv = ['foretwin', '-h']; main()"
    best_s, best_cpu_s, tries = float("inf"), float("inf"), 0
    # Best of three; a machine that is busy with other work gets a few more, and is judged by the time it did work. One
    # that is quick enough is enough.
    busy = os.getloadavg()[0] > (os.cpu_count() or 1) / 2
    while best_s >= 0.5 and tries < (6 if busy else 3):
        began_s, before = time.perf_counter(), os.times()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
        after, tries = os.times(), tries + 1
        best_s = min(best_s, time.perf_counter() - began_s)
        cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
        best_cpu_s = min(best_cpu_s, cpu_s)
        assert done.returncode == 0, done.stderr
        assert "foretwin" in done.stdout.lower()
    took_s = best_cpu_s if busy else best_s
    assert took_s < 0.5, f"foretwin -h took {took_s:.2f} s at best of {tries}"


def test_resolve_finds_the_longest_known_module():
    known = {"twin": ROOT, "twin.state": ROOT}
    assert resolve("twin.state.State", known) == "twin.state"
    assert resolve("twin.other", known) == "twin"
    assert resolve("numpy.random", known) == "numpy"


def test_telemetry_knows_nothing_of_the_engine():
    """`twin/telemetry` stands below the rest of its rung: readings and stores, no State and no physics."""
    faults = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.module}"
        for module, path in MODULES.items()
        if module.startswith("twin.telemetry")
        for found in imports_of(module, path)
        if found.module.startswith("twin.") and not found.module.startswith("twin.telemetry")
    ]
    assert not faults, named(faults)
