"""Who imports whom, read from the source without running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LADDER = ("plant", "twin", "energy", "predict", "scheduler", "recovery", "screens", "verbs")
DOORS = ("cli", "app")


@dataclass(frozen=True)
class Import:
    """One imported name: the module asked for, its line, and whether it happens as soon as the importer is imported."""

    module: str
    line: int
    eager: bool


def sources() -> dict[str, Path]:
    """Module name -> file of all product code: the packages of the ladder and the front doors that exist."""
    found = {}
    for package in LADDER:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found | {door: ROOT / f"{door}.py" for door in DOORS if (ROOT / f"{door}.py").exists()}


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Everything in the parsed file, walked once for all rules."""
    return tuple(ast.walk(tree(path)))


def is_type_checking(node: ast.AST) -> bool:
    """True for `if TYPE_CHECKING:`, whose body never runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def absolute(module: str, node: ast.ImportFrom, is_package: bool) -> str:
    """The absolute name a `from . import x` means inside `module`."""
    if not node.level:
        return node.module or ""
    base = module.split(".")[: len(module.split(".")) - node.level + is_package]
    return ".".join(base + ([node.module] if node.module else []))


def called(node: ast.Call) -> str:
    """Last word of what is called: `import_module` of `importlib.import_module(...)`."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


@cache
def imports_of(module: str, path: Path) -> list[Import]:
    """All imports of one file, `importlib.import_module("literal")` included; type-checking ones are left out."""
    out: list[Import] = []

    def visit(node: ast.AST, eager: bool) -> None:
        if is_type_checking(node):
            for other in node.orelse:
                visit(other, eager)
            return
        if isinstance(node, ast.Import):
            out.extend(Import(alias.name, node.lineno, eager) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node, path.name == "__init__.py")
            out.extend(Import(f"{base}.{alias.name}", node.lineno, eager) for alias in node.names)
        elif isinstance(node, ast.Call) and called(node).endswith("import_module"):
            out.extend(Import(str(a.value), node.lineno, eager) for a in node.args[:1] if isinstance(a, ast.Constant))
        inner = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, eager and not inner)

    visit(tree(path), True)
    return out


def resolve(name: str, known: dict[str, Path]) -> str:
    """The module a dotted name lives in: `twin.state.State` -> `twin.state`; a foreign name keeps its first part."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in known:
            return ".".join(parts[:end])
    return parts[0]


@cache
def graph(eager_only: bool = False) -> dict[str, set[str]]:
    """Module -> modules and foreign top-level packages it imports."""
    known = sources()
    return {
        module: {resolve(i.module, known) for i in imports_of(module, path) if i.eager or not eager_only}
        for module, path in known.items()
    }


def reached(start: str, edges: dict[str, set[str]]) -> dict[str, list[str]]:
    """Everything `start` can reach -> the way there, so that a failure shows which import to cut."""
    ways = {start: [start]}
    queue = [start]
    while queue:
        here = queue.pop()
        for there in sorted(edges.get(here, ())):
            if there not in ways:
                ways[there] = [*ways[here], there]
                queue.append(there)
    return ways
