"""Who may import whom: every import in the package, against the house that docs/design.md draws."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "quartapp"

# A floor's modules import from lower floors alone; on the ground floor, from what stands to their left too.
FLOORS = (
    ("errors", "events", "urls", "environment", "settings", "process"),
    ("requests", "formats", "embedded", "alarm", "mailbox", "outcome", "limits"),
    ("readers",),
    ("models",),
    ("guards", "answer", "schema"),
    ("chat",),
    ("routes", "stopping"),
    ("blueprint", "app", "http1"),
    ("__init__", "flask", "server"),
    ("__main__",),
)
WEB_FLOORS = FLOORS[4:]

# Third parties that only these parts of the package may import; a part is a module or a folder at its top.
DOORS = {
    "openai": {"models"},
    "httpx2": {"models"},
    "aiohttp": {"models"},
    "yarl": {"models"},
    "azure": {"models"},
    "hypercorn": {"__main__", "server", "http1"},
    "flask": {"flask"},
    "a2wsgi": {"flask"},
    "h11": {"http1"},
    "dotenv": {"environment"},
    "pydantic_settings": {"environment", "settings"},
    "quart_schema": {"schema"},
    "quart": {"embedded"}.union(*WEB_FLOORS),
    "werkzeug": {"embedded"}.union(*WEB_FLOORS),
}


class Module(NamedTuple):
    """A module by its dotted name within the package, a folder's `__init__` as `folder.__init__`."""

    name: str
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.partition(".")[0]

    @property
    def folder(self) -> str:
        return self.name.rpartition(".")[0]


def read(path: Path) -> Module:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return Module(name, ast.parse(path.read_text(encoding="utf-8")))


MODULES = {module.name: module for module in map(read, sorted(PACKAGE.rglob("*.py")))}
FOLDERS = sorted({module.folder for module in MODULES.values() if module.folder})
EACH = pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name)


def imported(module: Module) -> Iterator[str]:
    """The absolute names that `module` imports, wherever in it, as far as an import statement tells them."""
    here = ("quartapp." + module.name).split(".")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*here[: -node.level], *(node.module or "").split(".")] if node.level else [str(node.module)]
            yield from (".".join([*filter(None, base), alias.name]) for alias in node.names)


def own_imports(module: Module) -> Iterator[str]:
    """The modules of the package that `module` imports, named as in MODULES."""
    for name in imported(module):
        if name == "quartapp" or name.startswith("quartapp."):
            yield resolved(name.removeprefix("quartapp").lstrip("."))


def resolved(name: str) -> str:
    """The module that holds the imported `name`: itself, a folder's `__init__`, or the same of its parent."""
    candidates = [name, f"{name}.__init__".lstrip("."), name.rpartition(".")[0]]
    parent = f"{candidates[-1]}.__init__".lstrip(".")
    return next((candidate for candidate in candidates if candidate in MODULES), parent)


def reads_environment(module: Module) -> bool:
    attributes = {node.attr for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
    from_os = {name.removeprefix("os.") for name in imported(module) if name.startswith("os.")}
    return not {"environ", "environb", "getenv", "getenvb", "putenv"}.isdisjoint(attributes | from_os)


def floor(part: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


def order(folder: str) -> list[str]:
    """The modules of `folder` as its docstring orders them: a list after "Order inside this folder", or one a line."""
    docstring = ast.get_docstring(MODULES[f"{folder}.__init__"].tree) or ""
    listed = re.findall(r"^    (\w+)", docstring, re.MULTILINE)
    if not listed:
        sentence = docstring.partition("Order inside this folder:")[2].partition(".")[0]
        listed = [name.strip() for name in sentence.split(",")]
    return [name for name in listed if f"{folder}.{name}" in MODULES]


def may_import(importer: Module, name: str) -> bool:
    part = name.partition(".")[0]
    if part != importer.part:
        ground = FLOORS[0]
        to_the_left = part in ground and importer.part in ground and ground.index(part) < ground.index(importer.part)
        return floor(part) < floor(importer.part) or to_the_left
    if importer.name.endswith("__init__"):
        return True
    names = [f"{importer.folder}.{each}" for each in order(importer.folder)]
    return name in names and names.index(name) < names.index(importer.name)


def test_every_part_of_the_package_stands_on_exactly_one_floor() -> None:
    assert sorted(part for parts in FLOORS for part in parts) == sorted({module.part for module in MODULES.values()})


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_orders_each_of_its_modules_once(folder: str) -> None:
    own = [name.rpartition(".")[2] for name, module in MODULES.items() if module.folder == folder]
    assert sorted([*order(folder), "__init__"]) == sorted(own)


@EACH
def test_a_module_imports_from_below_it_alone(module: Module) -> None:
    assert [name for name in own_imports(module) if not may_import(module, name)] == []


@EACH
def test_each_third_party_has_its_door(module: Module) -> None:
    thirds = {name.partition(".")[0] for name in imported(module)}
    assert [third for third in sorted(thirds & DOORS.keys()) if module.part not in DOORS[third]] == []


def test_the_embedded_model_shares_no_code_with_what_it_checks() -> None:
    embedded = [module for module in MODULES.values() if module.part == "embedded"]
    assert {name.partition(".")[0] for module in embedded for name in own_imports(module)} == {"embedded"}


def test_the_environment_is_read_in_one_place() -> None:
    assert [module.name for module in MODULES.values() if reads_environment(module)] == ["environment"]


def test_the_design_draws_the_same_floors() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", page, re.MULTILINE)
    drawn = {int(number): tuple(re.findall(r"`(\w+)(?:\.py|/)`", parts)) for number, parts in rows}
    assert drawn == dict(enumerate(FLOORS))


def test_the_rules_refuse_what_they_are_for() -> None:
    assert may_import(MODULES["settings"], "errors")
    assert not may_import(MODULES["errors"], "settings")
    assert not may_import(MODULES["requests.chat"], "models.registry")
    assert not may_import(MODULES["models.table"], "models.registry")
    assert not may_import(MODULES["readers.chunks"], "models.registry")
    assert not may_import(MODULES["flask"], "__init__")
    assert list(own_imports(Module("models.x", ast.parse("from . import table\nfrom .registry import Model")))) == [
        "models.table",
        "models.registry",
    ]
    assert list(own_imports(Module("x", ast.parse("from quartapp import create_app")))) == ["__init__"]
