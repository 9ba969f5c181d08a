"""The source distribution, the wheel, and the versions that CI installs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.plugin_projects import ASYNCIO, PROJECT, TESTS, run_tests
from tests.support.sampling import SOAK
from tests.support.serving import ROOT

# What a tree without git may have next to the sources: environments, caches, results.
IGNORED = (
    *(".*_cache", ".cache", ".env", ".git", ".hypothesis", ".venv*", "*.egg-info", "__pycache__"),
    *("_build", "build", "dist", "node_modules", "PKG-INFO", "setup.cfg"),
)


def _copy_sources(to: Path) -> set[str]:
    """Copy the project to the folder `to`, and return the names of its files. In a clone, these are git's files."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, to / name)
    else:
        shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*IGNORED), dirs_exist_ok=True)
    return {str(path.relative_to(to)) for path in to.rglob("*") if path.is_file()}


class Built(NamedTuple):
    """The names of the files of the project, its sdist, and the wheel of that sdist."""

    project: set[str]
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Built:
    sources, results = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("results")
    names = _copy_sources(sources)
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(results), str(sources))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (sdist,), (wheel,) = results.glob("*.tar.gz"), results.glob("*.whl")
    return Built(names, sdist, wheel)


@pytest.fixture(scope="module")
def built(distribution: Built) -> Mapping[str, set[str]]:
    """Return the names of the files in the project, in its sdist, and in the wheel of that sdist."""
    with tarfile.open(distribution.sdist) as packed:
        in_sdist = {member.name.partition("/")[2] for member in packed if member.isfile()}
    with zipfile.ZipFile(distribution.wheel) as zipped:
        in_wheel = {name for name in zipped.namelist() if not name.endswith("/")}
    return {"project": distribution.project, "sdist": in_sdist, "wheel": in_wheel}


@pytest.mark.timeout(180)
def test_the_sdist_has_each_file_of_the_project_and_no_others(built: Mapping[str, set[str]]) -> None:
    made = {name for name in built["sdist"] if re.match(r"PKG-INFO$|setup\.cfg$|quartapp\.egg-info/", name)}
    assert built["sdist"] - made == built["project"]


@pytest.mark.timeout(180)
def test_the_wheel_has_each_file_of_the_package_and_no_others(built: Mapping[str, set[str]]) -> None:
    in_package = {name for name in built["project"] if name.startswith("quartapp/")} | {"pytest_quartapp.py"}
    assert {name for name in built["wheel"] if not re.match(r"quartapp-[^/]+\.dist-info/", name)} == in_package
    assert {"quartapp/py.typed", "quartapp/static/quart-chat.js", "quartapp/mock/texts/tour.md"} <= in_package


# -- the pytest plugin


@pytest.fixture(scope="module")
def installed(distribution: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the wheel is installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    command = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(folder))
    subprocess.run([*command, str(distribution.wheel)], check=True, timeout=100, capture_output=True)
    return folder


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("flask", "sync"),
        *(pytest.param("quart", mode, marks=[SOAK] if mode != "auto" else []) for mode in ASYNCIO),
    ],
)
def test_a_truncated_answer_fails_the_test_of_a_fresh_project(
    installed: Path, tmp_path: Path, host: str, mode: str
) -> None:
    (tmp_path / "project.py").write_text(PROJECT[host], encoding="utf-8")
    (tmp_path / "test_project.py").write_text(TESTS[host].replace("MODE", mode), encoding="utf-8")
    done = run_tests(tmp_path, installed, *ASYNCIO[mode], "-W", "error")
    assert "2 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    failed = set(re.findall(r"^FAILED test_project.py::(\w+)", done.stdout, re.MULTILINE))
    assert failed == {"test_truncated", "test_truncated_text"}
    assert "TruncatedAnswerError: the answer is truncated (upstream_error) after 'Buy more '" in done.stdout
    assert "TruncatedAnswerError: the answer is truncated (no code) after 'Buy more '" in done.stdout


@pytest.mark.timeout(180)
def test_the_plugin_imports_nothing_in_a_run_that_does_not_use_it(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n\ndef test_other():\n"
        "    assert 'pytest_quartapp' in sys.modules\n"
        "    assert not {'quartapp', 'quart', 'flask', 'openai', 'msgspec'} & sys.modules.keys()\n",
        encoding="utf-8",
    )
    done = run_tests(tmp_path, installed, *ASYNCIO["sync"], "-p", "no:schemathesis", "-W", "error")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    listed = run_tests(tmp_path, installed, "--fixtures", "-q").stdout
    assert re.search(r"^chat_model -- .*\n +The model of every chat", listed, re.MULTILINE)
    assert re.search(r"^chat_model_server -- .*\n +A real server", listed, re.MULTILINE)


@pytest.mark.timeout(180)
@SOAK
def test_the_setting_of_the_plugin_makes_each_model_strict(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nchat_model_strict = true\n", encoding="utf-8")
    (tmp_path / "test_strict.py").write_text(
        "def test_strict(chat_model):\n    chat_model.answer('tea')\n", encoding="utf-8"
    )
    done = run_tests(tmp_path, installed)
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "no request took 1 of its queued answers" in done.stdout


# -- requirements-dev.lock


def _requirements(text: str) -> list[Requirement]:
    lines = (line.partition(" #")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@cache
def _locked() -> list[Requirement]:
    return _requirements((ROOT / "requirements-dev.lock").read_text(encoding="utf-8"))


def _dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = [(ROOT / name).read_text(encoding="utf-8") for name in ("requirements.txt", "bench/requirements.txt")]
    lines = [line for extra in project["optional-dependencies"].values() for line in extra]
    required = _requirements("\n".join([*files, *lines]))
    return [requirement for requirement in required if requirement.name != project["name"]]


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_has_one_allowed_version_of_each_dependency_for_each_python(version: str) -> None:
    environment = {"python_version": version, "python_full_version": f"{version}.0"}
    locked: dict[str, list[Requirement]] = {}
    for pin in _locked():
        if pin.marker is None or pin.marker.evaluate(environment):
            locked.setdefault(canonicalize_name(pin.name), []).append(pin)
    assert {name: pins for name, pins in locked.items() if len(pins) > 1} == {}
    for required in _dependencies():
        (pin,) = locked[canonicalize_name(required.name)]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert required.specifier.contains(exact.version), required


def test_the_lock_names_no_package_index() -> None:
    assert all(pin.url is None for pin in _locked())
    assert "--" not in (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
