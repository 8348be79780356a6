"""The house itself: packaging, pins, make targets, container files, words and the rule about skips."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from imports import LADDER, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = {
    *(
        "torch",
        "pytorch-lightning",
        "simpy",
        "pandas",
        "influxdb-client",
        "streamlit",
        "scikit-learn",
        "numpy",
        "scipy",
    ),
    *(
        "pydantic-settings",
        "pydantic",
        "joblib",
        "numba",
        "pyarrow",
        "typer",
        "rich",
        "line-protocol-parser",
        "prometheus-client",
    ),
}
TARGETS = {"setup", "demo", "test", "test-all", "servers", "check", "bench", "clean", "help"}


def pins() -> dict[str, str]:
    """Canonical name -> pinned version, from constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


# --- packaging --------------------------------------------------------------------------------


def test_packages_are_the_ladder_and_nothing_else():
    tool = PROJECT["tool"]["setuptools"]
    assert tuple(name for name in tool["packages"] if "." not in name) == LADDER
    assert tool["py-modules"] == ["app", "cli"]
    assert all((ROOT / package / "__init__.py").exists() for package in LADDER)
    assert not (ROOT / "pages").exists(), "streamlit takes a folder called pages for its own"


def test_every_folder_with_code_is_declared():
    code = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for top in LADDER
        for path in (ROOT / top).rglob("*.py")
    }
    assert code == set(PROJECT["tool"]["setuptools"]["packages"])


def test_name_licence_and_command():
    project = PROJECT["project"]
    assert (project["name"], project["license"], project["requires-python"]) == ("foretwin", "Apache-2.0", ">=3.11")
    assert project["scripts"] == {"foretwin": "cli:main"}
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_runtime_dependencies_are_the_agreed_ones():
    found = {
        canonicalize_name(Requirement(text).name): Requirement(text) for text in PROJECT["project"]["dependencies"]
    }
    assert set(found) == RUNTIME
    assert str(found["torch"].specifier) == "==2.13.0"


def closure(requirements: list[str]) -> set[str]:
    """Canonical names of everything that these requirements bring here."""
    names: set[str] = set()
    queue = [(Requirement(text), frozenset[str]()) for text in requirements]
    seen = set()
    while queue:
        need, extras = queue.pop()
        marker_ok = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in {"", *extras})
        key = (canonicalize_name(need.name), frozenset(need.extras))
        if not marker_ok or key in seen:
            continue
        seen.add(key)
        names.add(key[0])
        try:
            below = metadata.requires(need.name) or []
        except metadata.PackageNotFoundError:
            continue
        queue += [(Requirement(text), frozenset(need.extras)) for text in below]
    return names


def test_constraints_pin_all_that_is_needed_and_match_what_runs():
    needed = closure(PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["test"])
    pinned = pins()
    assert needed <= set(pinned), f"not pinned: {sorted(needed - set(pinned))}"
    assert set(pinned) <= needed, f"pinned but not needed: {sorted(set(pinned) - needed)}"
    differ = {n: (v, metadata.version(n)) for n, v in pinned.items() if metadata.version(n).split("+")[0] != v}
    assert not differ, f"installed versions differ from constraints.txt: {differ}"


def test_torch_is_pinned_without_a_local_label():
    assert pins()["torch"] == "2.13.0"


# --- make -------------------------------------------------------------------------------------


def make(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS", "PYTHON")}
    return subprocess.run(["make", *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def scratch(tmp_path):
    """The three files that `make setup` depends on, in a folder of their own."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def stamp(folder: Path, *names: str, place: str = "") -> None:
    (folder / ".venv").mkdir(exist_ok=True)
    for name in names:
        (folder / ".venv" / f".{name}-installed").write_text((place or str(folder)) + "\n")


def test_help_lists_every_target():
    shown = set(re.findall(r"^  make (\S+)", make("help").stdout, re.MULTILINE))
    assert shown >= TARGETS


@pytest.mark.parametrize("target", ["setup", "demo", "test"])
def test_a_fresh_checkout_sets_itself_up_without_apt(scratch, target):
    steps = make("-n", target, cwd=scratch).stdout
    assert "-m venv" in steps
    assert "pip install" in steps
    assert "-c constraints.txt" in steps
    assert "apt" not in steps
    assert ("[test]" in steps) == (target == "test")


def test_a_second_run_installs_nothing(scratch):
    stamp(scratch, "runtime", "testset")
    for target in ("setup", "demo", "test"):
        assert "pip install" not in make("-n", target, cwd=scratch).stdout


def test_setup_runs_again_when_the_dependencies_change(scratch):
    stamp(scratch, "runtime", "testset")
    os.utime(scratch / ".venv" / ".runtime-installed", (0, 0))
    assert "pip install" in make("-n", "setup", cwd=scratch).stdout


def test_an_environment_of_another_place_is_made_anew(scratch):
    stamp(scratch, "runtime", "testset", place="elsewhere")
    steps = make("-n", "setup", cwd=scratch).stdout
    assert "rm -rf .venv" in steps
    assert "pip install" in steps


def test_an_old_python_is_refused_in_one_line(scratch):
    old = scratch / "python-old"
    old.write_text(f"#!{sys.executable}\nimport sys\nsys.version_info = (3, 9)\nexec(sys.argv[2])\n")
    old.chmod(0o755)
    done = make("setup", f"PYTHON={old}", cwd=scratch)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("Foretwin needs Python 3.11 or newer")
    assert not (scratch / ".venv").exists()


def test_pip_settings_are_nobodys_business_here():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert not re.search(r"PIP_[A-Z]|index-url|find-links|--no-cache", text.replace("PIP_*", ""))


def test_the_gate_runs_servers_then_both_suites():
    gate = ROOT / ".ci" / "run"
    assert os.access(gate, os.X_OK)
    assert re.findall(r"^stage (\S+)$", gate.read_text(encoding="utf-8"), re.MULTILINE) == [
        "servers",
        "test",
        "test-all",
    ]


# --- text files -------------------------------------------------------------------------------

TEXT = {".py", ".toml", ".md", ".sh", ".yml", ".yaml", ".txt", ".cfg", ".ini", ""}


def text_files() -> list[Path]:
    """Text files that git knows or would add; all of them where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    if listed.returncode:
        found = [p for p in ROOT.rglob("*") if not {".venv", ".git", "__pycache__"} & set(p.relative_to(ROOT).parts)]
    else:
        found = [ROOT / name for name in listed.stdout.splitlines()]
    return [p for p in found if p.is_file() and p.suffix in TEXT and p.stat().st_size < 1_000_000]


def test_no_file_names_a_machine_or_a_package_index():
    machine = r"(?<![\w.~$}])/(work|tmp|root|home/\w+)/\w"
    hosts = "|".join(
        ["pypi" + r"\.org", "python" + r"hosted\.org", "download" + r"\.pytorch\.org", "--extra-index" + "-url"]
    )
    bad = re.compile(f"{machine}|{hosts}")
    faults = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if bad.search(line):
                faults.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:100]}")
    assert not faults, "\n".join(["", *faults])


def test_screen_stays_on_this_machine_and_tells_nobody():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["browser"]["gatherUsageStats"] is False
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableCORS"] is True
    assert config["server"]["enableXsrfProtection"] is True


def saturation(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return (max(red, green, blue) - min(red, green, blue)) / 255


def test_theme_is_grey_until_something_is_wrong():
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    alarms = {"redColor", "orangeColor", "yellowColor", "violetColor"}
    for key, value in theme.items():
        for colour in value if isinstance(value, list) else [value]:
            if isinstance(colour, str) and colour.startswith("#") and key not in alarms:
                assert saturation(colour) < 0.25, f"{key} {colour} shouts"


# --- containers -------------------------------------------------------------------------------

COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES = yaml.safe_load(COMPOSE_TEXT)["services"]


def test_compose_starts_database_worker_and_app():
    assert set(SERVICES) == {"influxdb", "worker", "app"}
    assert re.fullmatch(r"influxdb:2\.7\.\d+", SERVICES["influxdb"]["image"])
    assert SERVICES["influxdb"]["healthcheck"]["test"] == ["CMD", "influx", "ping"]
    assert "UNTESTED" in COMPOSE_TEXT


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not service["user"].startswith("0")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["env_file"], "secrets come from a file beside the compose file"
    assert {"mem_limit", "cpus"} <= set(service)


def test_compose_holds_no_secret():
    for service in SERVICES.values():
        assert not [key for key in service.get("environment", {}) if re.search("PASSWORD|TOKEN|SECRET", key)]
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "*.env" in ignored


def test_the_image_holds_all_packages():
    copied = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all(f"COPY {package} {package}\n" in copied for package in LADDER)
    assert "USER foretwin" in copied


# --- words ------------------------------------------------------------------------------------


def table_rows(heading: str) -> dict[str, str]:
    """First cell -> whole row of the table under a heading of docs/nomenclature.md."""
    text = (ROOT / "docs" / "nomenclature.md").read_text(encoding="utf-8")
    part = text.split(heading, 1)[1].split("\n## ", 1)[0]
    return {m.group(1): m.group(0) for m in re.finditer(r"^\| `(\w+)` \|.*$", part, re.MULTILINE)}


def owners() -> dict[str, type]:
    """Heading on docs/nomenclature.md -> the class whose arrays stand there: the site and what hangs on it."""
    from plant.chain import PowerChain
    from plant.coolingplant import CoolingPlant
    from plant.faults import FaultLaws
    from plant.gpubuild import Gpus
    from plant.network import Network
    from plant.site import Site

    return {f"`{c.__module__}.{c.__name__}`": c for c in (Site, PowerChain, CoolingPlant, Network, Gpus, FaultLaws)}


@pytest.mark.parametrize("heading", owners())
def test_nomenclature_has_every_array_of_the_site(heading):
    rows = table_rows(f"arrays of {heading}\n")
    names = {field.name for field in dataclasses.fields(owners()[heading])}
    assert set(rows) == names, (
        f"add {sorted(names - set(rows))}, drop {sorted(set(rows) - names)} in docs/nomenclature.md"
    )


def test_every_part_of_a_site_that_holds_arrays_is_on_the_page_of_words():
    from plant.site import load_site

    site = load_site("tiny")
    parts = {type(getattr(site, f.name)) for f in dataclasses.fields(site)}
    assert {part for part in parts if dataclasses.is_dataclass(part)} < set(owners().values())


def test_nomenclature_has_every_array_of_the_state():
    from twin.fields import FIELDS

    rows = table_rows("## What the twin remembers")
    want = {f.name: f"| `{f.name}` | {f.axis or '-'} | {f.meaning} |" for f in FIELDS}
    wrong = [
        want.get(name, f"drop {name}") for name in sorted(want.keys() | rows.keys()) if want.get(name) != rows.get(name)
    ]
    assert not wrong, "\n".join(["rows of docs/nomenclature.md to write:", *wrong])


def test_links_between_pages_lead_to_files():
    lost = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                lost.append(f"{page.relative_to(ROOT)}: {target}")
    assert not lost


# --- the rule about skips ---------------------------------------------------------------------

SKIPPING = """
import pytest

def test_in_a_test(): pytest.skip("no server")

@pytest.mark.skipif(True, reason="marked")
def test_by_a_mark(): pass

def test_needs_data(shared_data): assert shared_data.is_dir()

@pytest.mark.xfail(strict=True)
def test_expected_failure(): assert False
"""


def run_suite(folder: Path, shared: bool, refuse: bool) -> str:
    """Closing line of a small suite with our conftest, in a checkout of its own."""
    tests = folder / "checkout" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", tests)
    (tests / "test_some.py").write_text(SKIPPING)
    (tests / "test_module.py").write_text('import pytest\npytest.importorskip("no_such_module_anywhere")\n')
    if shared:
        (folder / "shared" / "data").mkdir(parents=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "FORETWIN_NO_SKIPS"))}
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | ({"FORETWIN_NO_SKIPS": "1"} if refuse else {})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--continue-on-collection-errors",
    ]
    done = subprocess.run(command, cwd=folder / "checkout", env=env, capture_output=True, text=True, timeout=120)
    return done.stdout.strip().splitlines()[-1]


def test_skips_are_allowed_in_the_default_run(tmp_path):
    closing = run_suite(tmp_path, shared=False, refuse=False)
    assert "4 skipped, 1 xfailed" in closing


def test_skips_are_failures_in_the_full_run(tmp_path):
    closing = run_suite(tmp_path, shared=True, refuse=True)
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in closing


def test_only_absent_shared_data_may_skip_in_the_full_run(tmp_path):
    closing = run_suite(tmp_path, shared=False, refuse=True)
    assert "1 failed, 1 skipped, 1 xfailed, 2 errors" in closing
