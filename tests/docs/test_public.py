"""The public names: a project may rely on them, so they are documented and shipped."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import quartapp
import quartapp.testing

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "quartapp"

# A name more or less is a decision, and belongs into the changelog.
PUBLIC = [
    "Annotation",
    "AnswerReport",
    "Chat",
    "ChatError",
    "ChatRequest",
    "Delta",
    "Done",
    "Image",
    "Model",
    "Principal",
    "Reasoning",
    "Refusal",
    "Settings",
    "SettingsError",
    "Start",
    "Step",
    "ToolApproval",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "Usage",
    "bearer_token",
    "chat_blueprint",
    "create_app",
]

TESTING = [
    "AnswerError",
    "ChatAnswer",
    "CompleteToolCall",
    "FlaskChatClient",
    "MockModel",
    "ModelRequest",
    "ModelServer",
    "QuartChatClient",
    "TruncatedAnswerError",
    "chat_client",
]

NAMES = ["quartapp", *(found.name for found in pkgutil.walk_packages(quartapp.__path__, "quartapp."))]
MODULES = [importlib.import_module(name) for name in NAMES]


def public_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Return the functions and classes that `module` defines under a name without an underscore."""
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__
        if is_own and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
            yield name, value


def own_docstring(value: Any) -> str | None:
    """Return the docstring in the source, because msgspec, pydantic and base classes add their own."""
    return vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__


def test_the_public_names_are_these_and_sorted() -> None:
    assert quartapp.__all__ == PUBLIC == sorted(PUBLIC)
    assert all(hasattr(quartapp, name) for name in PUBLIC)


def test_the_newest_heading_of_the_changelog_has_the_version() -> None:
    newest = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert newest == quartapp.__version__


def test_the_public_names_for_tests_are_these_and_sorted() -> None:
    assert quartapp.testing.__all__ == TESTING == sorted(TESTING)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_module_has_a_docstring(module: ModuleType) -> None:
    first = (module.__doc__ or "").partition("\n")[0]
    assert len(first) > 20, f"{module.__name__} has no docstring"


# Inside the mock model, which other modules use through its `__init__` alone, a clear name needs no docstring.
OPEN = [module for module in MODULES if not module.__name__.startswith("quartapp.mock.")]


@pytest.mark.parametrize("module", OPEN, ids=lambda module: module.__name__)
def test_each_public_name_has_a_docstring_of_its_own(module: ModuleType) -> None:
    assert [name for name, value in public_of(module) if not own_docstring(value)] == []


def test_each_public_name_of_the_mock_model_has_a_docstring() -> None:
    offered = {name: getattr(quartapp.mock, name) for name in quartapp.mock.__all__}
    assert [name for name, value in offered.items() if inspect.isfunction(value) and not value.__doc__] == []


def test_every_file_of_the_package_is_shipped() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert PACKAGE / "py.typed" in files
    for path in files:
        holders = [path.parent, *path.parent.parents]
        package = next(folder for folder in holders if (folder / "__init__.py").exists())
        patterns = tools["package-data"].get(".".join(package.relative_to(ROOT).parts), [])
        name = path.relative_to(package).as_posix()
        assert any(fnmatch(name, pattern) for pattern in patterns), f"{path.relative_to(ROOT)} would not be shipped"


def test_every_folder_with_modules_is_a_package_that_is_shipped() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
