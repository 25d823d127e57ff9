"""The house itself: names that belong to it, requirements, and what no committed file may hold."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"flows", "tasks", "models", "storage"}
# Joined here, so that this file does not hold what it looks for.
HOSTS = [
    ".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("pytorch", "org"))
]
SHIPPED_MB = 40
MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:root|work|home|Users)/\w")


def intruders(distributions: Iterable[importlib.metadata.Distribution]) -> dict[str, str]:
    """Returns room → the distribution other than talkies that installs files into it."""
    found: dict[str, str] = {}
    for distribution in distributions:
        if distribution.name == "talkies":
            continue
        for file in distribution.files or ():
            top = file.parts[0].removesuffix(".py")
            if top in ROOMS:
                found[top] = distribution.name
    return found


def committed_files() -> list[Path]:
    """Returns the files that git has or would take."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so nothing tells what is committed")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    names = [name for name in listing.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def imported_modules(path: Path) -> set[str]:
    """Returns the top-level names that a module imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def weight_faults(folder: Path) -> list[str]:
    """Returns what may not be in the folder of the model that ships, or is too much of it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    faults = [
        f"{path.name}: no model has such a file"
        for path in files
        if path.suffix not in (".safetensors", ".json", ".md") or path.parent.parent != folder
    ]
    folders = sorted({path.parent.name for path in files})
    if len(folders) > 1:
        faults.append(f"one model ships, and there are {', '.join(folders)}")
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    if size_mb > SHIPPED_MB:
        faults.append(f"{size_mb:.1f} MB, more than {SHIPPED_MB}")
    return faults


def project() -> dict[str, list[str]]:
    """Returns the project table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    """Returns requirement name → everything that requirements.txt says about it."""
    text = (ROOT / "infra/requirements.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n?", "", text))
    return {re.split(r"[=\[; ]", block, maxsplit=1)[0].lower(): block for block in blocks if block}


def requirement_name(line: str) -> str:
    """Returns the name that a requirement begins with."""
    return re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower()


def test_no_other_installed_wheel_brings_one_of_the_four_packages() -> None:
    assert intruders(importlib.metadata.distributions()) == {}


def test_a_wheel_that_brings_a_package_named_tasks_is_found_by_name(tmp_path: Path) -> None:
    info = tmp_path / "errands-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: errands\nVersion: 1.0\n")
    (info / "RECORD").write_text("errands/__init__.py,,\ntasks/__init__.py,,\n")
    found = intruders(importlib.metadata.distributions(path=[str(tmp_path)]))
    assert found == {"tasks": "errands"}


def test_the_tests_hold_no_package() -> None:
    assert sorted((ROOT / "tests").rglob("__init__.py")) == []


def test_no_committed_file_names_a_registry_or_a_machine_path() -> None:
    found: list[str] = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if any(host in line for host in HOSTS) or MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_every_requirement_is_pinned_and_hashed() -> None:
    loose = [
        name
        for name, block in pins().items()
        if not re.match(r"[\w.\[\]-]+==\S+", block) or "--hash=sha256:" not in block
    ]
    assert loose == []
    assert len(pins()) > 100


def test_the_requirements_hold_no_index_and_no_path() -> None:
    for name in ("requirements.in", "requirements.txt"):
        text = (ROOT / "infra" / name).read_text(encoding="utf-8")
        assert re.findall(r"--\S*(?:index|find-links|trusted)\S*|https?:|file:| @ ", text) == []


def test_every_dependency_has_a_pin_and_a_line_in_requirements_in() -> None:
    wanted = (ROOT / "infra/requirements.in").read_text(encoding="utf-8").splitlines()
    direct = {requirement_name(line) for line in wanted if line and not line.startswith("#")}
    declared = {requirement_name(line) for line in project()["dependencies"]}
    assert declared - direct == set()
    assert direct - set(pins()) == set()


def test_every_import_of_the_four_packages_is_a_declared_dependency() -> None:
    declared = {requirement_name(line) for line in project()["dependencies"]}
    homes = importlib.metadata.packages_distributions()
    unknown: set[str] = set()
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for module in imported_modules(path) - ROOMS - sys.stdlib_module_names:
            names = {name.lower().replace("_", "-") for name in homes.get(module, [])}
            if not names & declared:
                unknown.add(f"{path.relative_to(ROOT)}: {module}")
    assert unknown == set()


def test_each_line_of_requirements_in_gives_a_reason() -> None:
    lines = (ROOT / "infra/requirements.in").read_text(encoding="utf-8").splitlines()
    silent = [line for line in lines if line and not re.search(r"# \w", line)]
    assert silent == []


def test_the_model_that_ships_is_one_of_40_mb_at_most_or_none() -> None:
    assert weight_faults(ROOT / "models/weights") == []


def test_a_pickle_and_a_second_model_among_the_shipped_weights_are_found(tmp_path: Path) -> None:
    for name in ("a/model.safetensors", "a/config.json", "a/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert weight_faults(tmp_path) == []
    (tmp_path / "a/model.pt").touch()
    (tmp_path / "b").mkdir()
    with (tmp_path / "b/model.safetensors").open("wb") as stream:
        stream.truncate(41_000_000)
    assert weight_faults(tmp_path) == [
        "model.pt: no model has such a file",
        "one model ships, and there are a, b",
        "41.0 MB, more than 40",
    ]


def test_wheel_and_sdist_hold_the_weights_that_ship(tmp_path: Path) -> None:
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    shutil.copyfile(ROOT / ".gitignore", tmp_path / ".gitignore")
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    for name in ("models/__init__.py", "models/weights/a/model.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    made = {"models/__init__.py", "models/weights/a/model.safetensors"}
    for builder in (WheelBuilder, SdistBuilder):
        files = builder(str(tmp_path)).recurse_included_files()
        held = {Path(file.path).relative_to(tmp_path).as_posix() for file in files}
        assert held - {"pyproject.toml", ".gitignore"} == made


def test_the_project_cannot_be_uploaded() -> None:
    assert "Private :: Do Not Upload" in project()["classifiers"]


def test_the_checks_run_exactly_make_test() -> None:
    script = ROOT / ".ci/run"
    lines = [line.strip() for line in script.read_text(encoding="utf-8").splitlines()]
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec make test"]
    assert os.access(script, os.X_OK)
