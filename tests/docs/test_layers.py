"""The imports of the package: from lower floors, without cycles, and third parties in their places alone."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "quartapp"

# A module imports from lower floors and from its own; on one floor, files and folders import each other without cycles.
FLOORS = (
    ("core", "settings", "process", "signals"),
    ("protocols",),
    ("mock",),
    ("upstreams",),
    ("models", "answer", "tools"),
    ("hooks",),
    ("guards",),
    ("running", "quart_host"),
    ("protocols/*/routes", "routes", "openapi"),
    ("stopping", "app", "blueprint"),
    ("flask", "direct", "decorators", "tag", "server", "http1"),
    ("extension",),
    ("__init__",),
    ("__main__", "gunicorn", "testing"),
)
WEB_FLOORS = [part for parts in FLOORS[4:] for part in parts]

#: The largest number of modules in a folder, `__init__` not counted.
MAX_MODULES = 10

# Third parties that only these parts of the package may import; a part is a module or a folder at its top.
PLACES = {
    "openai": {"upstreams"},
    "httpx2": {"upstreams"},
    "aiohttp": {"upstreams"},
    "yarl": {"upstreams"},
    "azure": {"upstreams"},
    "hypercorn": {"__main__", "server", "http1", "testing"},
    "flask": {"flask", "extension", "testing"},  # the latter two only if the host app is one of Flask
    "a2wsgi": {"flask"},
    "h11": {"http1"},
    "dotenv": {"settings"},
    "pydantic_settings": {"settings"},
    "quart_schema": {"openapi"},
    "quart": {"mock", *WEB_FLOORS},
    "werkzeug": {"mock", *WEB_FLOORS},
}


class Module(NamedTuple):
    """A module by its dotted name within the package, a folder's `__init__` as `folder.__init__`."""

    name: str
    tree: ast.Module

    @property
    def part(self) -> str:
        """Return the name by which FLOORS lists the module: its file or folder at the top of the package."""
        first, _, rest = self.name.partition(".")
        last = rest.rpartition(".")[2]
        return f"{first}/*/{last}" if first == "protocols" and last == "routes" else first

    @property
    def folder(self) -> str:
        return self.name.rpartition(".")[0]


def read(path: Path) -> Module:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return Module(name, ast.parse(path.read_text(encoding="utf-8")))


MODULES = {module.name: module for module in map(read, sorted(PACKAGE.rglob("*.py")))}
EACH = pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name)


def imported(module: Module) -> Iterator[str]:
    """Return the absolute names that `module` imports, in any import statement."""
    here = ("quartapp." + module.name).split(".")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: -node.level], *(node.module or "").split(".")] if node.level else [str(node.module)]
            yield from (".".join([*filter(None, base), alias.name]) for alias in node.names)


def own_imports(module: Module) -> Iterator[str]:
    """Return the modules of the package that `module` imports, named as in MODULES."""
    for name in imported(module):
        if name == "quartapp" or name.startswith("quartapp."):
            yield resolved(name.removeprefix("quartapp").lstrip("."))


def resolved(name: str) -> str:
    """Return the module of the imported `name`: itself, a folder's `__init__`, or that of its parent."""
    candidates = [name, f"{name}.__init__".lstrip("."), name.rpartition(".")[0]]
    parent = f"{candidates[-1]}.__init__".lstrip(".")
    return next((candidate for candidate in candidates if candidate in MODULES), parent)


def reads_environment(module: Module) -> bool:
    nodes = [node for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)]
    attributes = {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "os"}
    from_os = {name.removeprefix("os.") for name in imported(module) if name.startswith("os.")}
    return not {"environ", "environb", "getenv", "getenvb", "putenv"}.isdisjoint(attributes | from_os)


def floor(module: Module) -> int:
    return next(number for number, parts in enumerate(FLOORS) if module.part in parts)


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return names that lead back to the first of them along `edges`, or nothing if there are none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def siblings(module: Module, other: Module) -> tuple[str, str]:
    """Return the outermost file or folder of each of two modules that does not contain both."""
    path, other_path = module.name.split("."), other.name.split(".")
    shared = next(count for count, pair in enumerate(zip(path, other_path, strict=False)) if pair[0] != pair[1])
    return ".".join(path[: shared + 1]), ".".join(other_path[: shared + 1])


def test_every_part_of_the_package_is_on_exactly_one_floor() -> None:
    assert sorted(part for parts in FLOORS for part in parts) == sorted({module.part for module in MODULES.values()})


def test_no_folder_is_crowded() -> None:
    counts = Counter(module.folder for module in MODULES.values() if not module.name.endswith("__init__"))
    del counts[""]
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


@EACH
def test_a_module_imports_from_no_higher_floor(module: Module) -> None:
    assert [name for name in own_imports(module) if floor(MODULES[name]) > floor(module)] == []


def test_modules_import_each_other_without_cycles() -> None:
    assert cycle({module.name: set(own_imports(module)) - {module.name} for module in MODULES.values()}) == []


def test_siblings_of_one_floor_import_each_other_without_cycles() -> None:
    """A sibling is a file or a folder with all that it contains."""
    edges: dict[str, set[str]] = defaultdict(set)
    for module in MODULES.values():
        for other in (MODULES[name] for name in own_imports(module)):
            if other is not module and floor(other) == floor(module):
                sibling, imported_sibling = siblings(module, other)
                edges[sibling].add(imported_sibling)
    assert cycle(edges) == []


@EACH
def test_each_third_party_has_its_place(module: Module) -> None:
    thirds = {name.partition(".")[0] for name in imported(module)}
    assert [third for third in sorted(thirds & PLACES.keys()) if module.part not in PLACES[third]] == []


def test_the_mock_model_shares_no_code_with_what_it_checks() -> None:
    mock = [module for module in MODULES.values() if module.part == "mock"]
    assert {MODULES[name].part for module in mock for name in own_imports(module)} == {"mock"}


def test_the_environment_is_read_in_one_place() -> None:
    assert [module.name for module in MODULES.values() if reads_environment(module)] == ["settings.loader"]


def test_the_design_draws_the_same_floors() -> None:
    page = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE)
    drawn = {int(number): tuple(re.findall(r"`([\w/*]+?)(?:\.py|/)`", parts)) for number, parts in rows}
    assert drawn == dict(enumerate(FLOORS))


def test_the_rules_refuse_what_they_are_for() -> None:
    assert floor(MODULES["protocols.native.routes"]) > floor(MODULES["running"]) > floor(MODULES["models.registry"])
    assert floor(MODULES["protocols.native.request"]) < floor(MODULES["upstreams.opener"])
    assert cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(cycle({"a": {"b"}, "b": {"a"}})) == {"a", "b"}
    relative = Module("models.x", ast.parse("from . import config\nfrom .registry import Model"))
    assert list(own_imports(relative)) == ["models.config", "models.registry"]
    assert list(own_imports(Module("x", ast.parse("from quartapp import create_app")))) == ["__init__"]
