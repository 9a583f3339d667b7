"""The shape of the house: who may import whom, and which modules decide without I/O."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("partition", "signpost", "updog", "migrator", "repo_tools")

ALLOWED = {
    "partition": set[str](),
    "signpost": {"partition"},
    "updog": {"partition", "signpost"},
    "migrator": {"partition", "signpost", "updog"},
    # The owner's tools pack and check migrations with the migrator's public library.
    "repo_tools": {"partition", "signpost", "updog", "migrator"},
}

# A third-party library is met in these modules alone; everything else sees our own types.
ONLY_IN = {
    "requests": {"updog.http"},
    "parted": {"partition.geometry"},
}

# Pure modules: no I/O, no clock, no randomness.
PURE = {
    "partition.gpt",
    "partition.gptcopies",
    "partition.gptentry",
    "partition.gptheader",
    "signpost.flags",
    "signpost.health_policy",
    "signpost.health_record",
    "signpost.layout",
    "signpost.report",
    "signpost.state",
    "updog.addresses",
    "updog.clock",
    "updog.http_answers",
    "updog.proxies",
    "updog.retries",
    "updog.targets",
    "updog.waves",
    "updog.manifest",
    "updog.migrations",
    "updog.choose",
    "updog.versions",
    "repo_tools.care.expiry",
    "repo_tools.care.lint",
    "repo_tools.care.metrics",
    "repo_tools.mirror.select",
    "repo_tools.publish.checks",
    "repo_tools.publish.manifest_edit",
    "repo_tools.rollout.recall",
    "repo_tools.rollout.schedule",
    "repo_tools.rollout.state",
    "repo_tools.waves.curve",
    "repo_tools.waves.policy",
    "repo_tools.waves.render",
    "repo_tools.waves.report",
}
IMPURE_IMPORTS = {
    "os", "io", "pathlib", "shutil", "socket", "subprocess", "tempfile", "threading", "time",
    "random", "secrets", "requests", "urllib3", "click", "rich", "tuf", "lz4", "parted",
}  # fmt: skip
IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input"}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = list(path.relative_to(ROOT).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts.pop()
            found[".".join(parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Absolute names that a module imports, at any depth of the code; type-checking imports too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                pytest.fail(f"{path}: relative import; the rule is read from absolute names")
            module = node.module or ""
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_towards_the_leaf(module: str) -> None:
    package = module.split(".", maxsplit=1)[0]
    ours = {name.split(".")[0] for name in imports(MODULES[module])} & set(PACKAGES)
    assert ours - {package} <= ALLOWED[package]


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_met_in_one_place(library: str) -> None:
    users = {
        module
        for module, path in MODULES.items()
        if library in {name.split(".")[0] for name in imports(path)}
    }
    assert users <= ONLY_IN[library]
    assert users, f"nobody imports {library}: the rule is out of date"


@pytest.mark.parametrize("module", MODULES)
def test_nobody_imports_a_command_line(module: str) -> None:
    if module.endswith("__main__") or ".cli" in module:
        return
    assert not {name for name in imports(MODULES[module]) if name.endswith(".cli")}


@pytest.mark.parametrize("module", sorted(PURE))
def test_what_decides_touches_nothing(module: str) -> None:
    path = MODULES[module]
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE_IMPORTS
    calls = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    assert not calls & IMPURE_CALLS


def test_no_cycles_between_modules() -> None:
    """Inside a package too: a module's imports, followed to the end, never come back to it."""
    graph = {
        module: {name for name in imports(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
        # A package's __init__ gathers public names; modules do not import it in turn.
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for name in graph[module]:
            if name not in PACKAGES:
                visit(name, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())
    assert done >= PURE
