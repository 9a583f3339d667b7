"""The command line as a whole: one map, the same habits everywhere, one line for every error."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from repo_tools import errors
from repo_tools.cli import ask, ask_secret, repo_tools
from repo_tools.errors import KeyUnavailable, RepoToolsError
from repo_tools.sizes import parse_size
from repo_tools.updata.cli import updata
from tests.repo_tools.owner import PROGRAM, Owner

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ALL = dict(
    pair
    for group, name in ((repo_tools, "repo-tools"), (updata, "updata"))
    for pair in commands(group, name)
)


def takes_keys(command: click.Command) -> bool:
    return any("--key" in param.opts for param in command.params)


# These print something else than an answer.
NO_JSON = {"repo-tools completion"}


def test_the_help_is_a_map() -> None:
    text = CliRunner().invoke(repo_tools, ["--help"]).output
    for path in ALL:
        if path.startswith("repo-tools "):
            assert f"  {path.removeprefix('repo-tools ')} " in text
    assert "..." not in text.replace("[ARGS]...", "")


@pytest.mark.parametrize("path", sorted(ALL))
def test_every_command_explains_itself_and_speaks_json(path: str) -> None:
    command = ALL[path]
    assert command.help
    options = {name for param in command.params for name in param.opts}
    assert ("--json" in options) is (path not in NO_JSON)
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{path} {param.opts}"
    words = [*path.split()[1:], "--help"]
    group = updata if path.startswith("updata") else repo_tools
    result = CliRunner().invoke(group, words)
    assert result.exit_code == 0
    assert "Usage: " in result.output


@pytest.mark.parametrize(
    "path", sorted(p for p, c in ALL.items() if takes_keys(c) and not p.endswith(" sign"))
)
def test_what_signs_can_be_tried_first(path: str) -> None:
    options = {name for param in ALL[path].params for name in param.opts}
    assert {"--dry-run", "--yes"} <= options


def test_manual_pages(tmp_path: Path) -> None:
    done = Owner(tmp_path / "owner").do("manual", tmp_path / "man")
    assert sorted(Path(page).name for page in done["pages"]) == [
        "migrator.8", "repo-tools.1", "signpost.8", "updata.1", "updog.8",
    ]  # fmt: skip
    for page in done["pages"]:
        out = subprocess.run(
            ["groff", "-man", "-ww", "-Kutf8", "-Tutf8", page],
            check=True,
            capture_output=True,
            text=True,
        )
        assert out.stderr == ""
    page = tmp_path / "man" / "repo-tools.1"
    assert page.read_text().startswith('.TH REPO\\-TOOLS 1 "" "updog ')
    for path in ALL:
        if path.startswith("repo-tools "):
            assert f".SS {path.removeprefix('repo-tools ')}".replace("-", "\\-") in page.read_text()


@pytest.mark.parametrize("program", ["repo-tools", "updata", "updog", "signpost"])
def test_completion_in_bash(tmp_path: Path, program: str) -> None:
    """A real bash sources the script and asks it."""
    script = tmp_path / "completion"
    printed = CliRunner().invoke(repo_tools, ["completion", "bash", "--program", program])
    script.write_text(printed.stdout)
    function = f"_{program.replace('-', '_')}_completion"
    ask_bash = (
        f"source {script}; COMP_WORDS=({PROGRAM.with_name(program)} ''); COMP_CWORD=1;"
        f" {function} {PROGRAM.with_name(program)}; echo ${{COMPREPLY[@]}}"
    )
    out = subprocess.run(
        ["bash", "-c", ask_bash], check=True, capture_output=True, text=True
    ).stdout
    expected = {
        "repo-tools": {"repo", "root", "waves"}, "updata": {"init", "set-waves"},
        "updog": {"update", "check-update"}, "signpost": {"status"},
    }  # fmt: skip
    assert expected[program] <= set(out.split())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_elsewhere(shell: str) -> None:
    printed = CliRunner().invoke(repo_tools, ["completion", shell]).stdout
    assert "_REPO_TOOLS_COMPLETE" in printed


class TestDefaults:
    """`repo-tools.toml` saves typing, and does not swallow mistakes."""

    @pytest.fixture
    def configured(self, owner: Owner) -> Owner:
        (owner.base / "repo-tools.toml").write_text(
            '[defaults]\nrepo = "repo"\nvariant = "demo"\narch = "x86_64"\nroot = "1.root.json"\n'
            'key = ["keys"]\nwaves = "none"\ntimestamp-valid = "3 days"\n'
        )
        return owner

    def run(self, owner: Owner, *words: str | Path) -> str:
        result = owner.run("--config", owner.base / "repo-tools.toml", *words)
        assert result.exit_code == 0, result.output
        return result.output

    def test_they_stand_for_options(self, configured: Owner) -> None:
        boot, root = configured.images("1.1.0")
        out = self.run(configured, "repo", "publish", "--version", "1.1.0", "--boot", boot,
                       "--root-image", root, "--migrate-from", "1.0.0")  # fmt: skip
        assert "timestamp version 1 -> 2, expires 2026-06-04" in out
        assert configured.client().manifest()["updates"][0]["waves"] == {}

    def test_what_is_typed_wins(self, configured: Owner) -> None:
        out = self.run(configured, "repo", "refresh", "--within", "99 days", "--dry-run",
                       "--timestamp-valid", "5 days")  # fmt: skip
        assert "timestamp version 1 -> 2, expires 2026-06-06" in out

    def test_the_file_in_the_working_directory(
        self, configured: Owner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(configured.base)
        assert configured.run("repo", "check").exit_code == 0

    @pytest.mark.parametrize(
        "text, says",
        [
            ("[defaults]\nwavez = 'none'", "no command has an option 'wavez'"),
            ("[default]\n", "it may hold a table [defaults], only"),
            ("x =", "cannot read"),
        ],
    )
    def test_mistakes_are_told(self, configured: Owner, text: str, says: str) -> None:
        (configured.base / "repo-tools.toml").write_text(text)
        said = configured.refused("--config", configured.base / "repo-tools.toml", "repo", "check")
        assert says in said

    def test_a_wrong_value_is_a_usage_error(self, configured: Owner) -> None:
        path = configured.base / "repo-tools.toml"
        path.write_text(path.read_text().replace("3 days", "soon"))
        result = configured.run("--config", path, "repo", "refresh")
        assert result.exit_code == 2
        assert "'soon' is no offset" in result.stderr


class TestSecrets:
    """From the environment, for one key or for all; never from nowhere."""

    def test_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REPO_TOOLS_PASSPHRASE", "for all")
        monkeypatch.setenv("REPO_TOOLS_PASSPHRASE_ALICE_1", "for alice")
        assert ask_secret("alice-1", "passphrase") == "for alice"
        assert ask_secret("bob", "passphrase") == "for all"
        with pytest.raises(KeyUnavailable, match="it needs a pin"):
            ask_secret("bob", "pin")

    def test_nobody_to_ask(self) -> None:
        assert ask("really?") is True


def test_the_program_itself() -> None:
    for words, code in ((["--version"], 0), (["frobnicate"], 2), (["repo"], 2)):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
    module = subprocess.run(
        [sys.executable, "-m", "repo_tools.updata", "--version"], capture_output=True, check=True
    )
    assert module.stdout.startswith(b"updata ")


def test_help_does_not_load_what_it_does_not_need() -> None:
    """`--help` shows every command without TUF, LZ4 or numpy."""
    code = (
        "import sys; from repo_tools.waves.cli import waves; import repo_tools.cli;"
        "print([m for m in ('tuf', 'lz4', 'numpy', 'boto3', 'parted') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named(newcomer: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.delitem(sys.modules, "repo_tools.waves.simulate", raising=False)
    result = newcomer.run("waves", "simulate", "default")
    assert result.exit_code == 1
    assert "cannot do this without the library numpy" in result.stderr
    assert "hint: it comes with the extra `updog[simulate]`" in result.stderr


@pytest.mark.parametrize(
    "text, size",
    [("5", 5), ("64 MiB", 64 << 20), ("1GiB", 1 << 30), ("2 KiB", 2048), ("1 TiB", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-5", "1.5 GiB", "5 MB", "\u0665"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


WHEN = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
MESSAGES = [
    (errors.InputInvalid("key x", "gone"), "cannot read key x: gone"),
    (errors.ExtraMissing("s3", "boto3"), "cannot do this without the library boto3"),
    (errors.KeyFileInvalid("x.pub", "torn"), "cannot use key file x.pub: torn"),
    (errors.KeyUnavailable("x", "away"), "cannot sign with key x: away"),
    (errors.WrongPassphrase("x"), "cannot sign with key x: the passphrase does not open it"),
    (errors.SigningFailed("x", "root", "no"), "cannot sign root with key x: no"),
    (errors.RootInvalid("version 2", "odd"), "cannot use root version 2: odd"),
    (
        errors.NotEnoughSignatures("root", 1, 2, ["ab", "cd"]),
        (
            "cannot publish root: it has 1 of the 2 signatures that the root asks for;"
            " keys that may still sign: ab, cd"
        ),
    ),
    (
        errors.RehearsalFailed(1, "lost"),
        "refusing: a host that starts from root version 1 would fail: lost",
    ),
    (errors.StoreFailed("read", "x", "no"), "cannot read x: no"),
    (
        errors.AlreadyThere("x"),
        "cannot write x: it exists with other contents, and never changes",
    ),
    (
        errors.PublishedMeanwhile("x"),
        "cannot publish to x: somebody else published meanwhile",
    ),
    (errors.NoRepository("x"), "cannot open the repository at x: there is none"),
    (
        errors.RepositoryExists("x"),
        "cannot make a repository at x: there is one already",
    ),
    (
        errors.RepositoryDamaged("x"),
        "cannot make a repository at x: there was one, and its timestamp.json is missing",
    ),
    (errors.RepositoryUntrusted("x", "root", "odd"), "cannot trust root of x: odd"),
    (errors.ImageInvalid("x", "odd"), "cannot publish image x: odd"),
    (errors.LayoutInvalid("x", "odd"), "cannot use disk layout x: odd"),
    (errors.PolicyInvalid("x", "odd"), "cannot use wave policy x: odd"),
    (errors.ManifestEditRefused("pause x", "odd"), "cannot pause x: odd"),
    (errors.PublishRefused("x", ["a", "b"]), "refusing to publish x: a; b"),
    (errors.ProposalInvalid("x", "odd"), "cannot use proposal x: odd"),
    (errors.ValidationFailed("x", ["a"]), "x is not sound: 1 problem"),
    (
        errors.ExpiryNear("x", "root", WHEN, expired=False),
        "root of x expires on 2026-06-01 12:00 UTC",
    ),
    (errors.Declined(), "nothing was changed, as you wished"),
]


@pytest.mark.parametrize("error, text", MESSAGES, ids=lambda v: type(v).__name__)
def test_messages(error: RepoToolsError, text: str) -> None:
    assert str(error) == text
    assert error.exit_code == 1
    assert error.hint is None or error.hint


def test_every_error_is_in_the_table_and_in_the_tree() -> None:
    classes = {
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, RepoToolsError) and cls is not RepoToolsError
    }
    assert {type(error) for error, _ in MESSAGES} == classes
    tree = errors.__doc__ or ""
    assert not [cls.__name__ for cls in classes if cls.__name__ not in tree]


def test_groff_is_there() -> None:
    """The witness of the manual pages must not be missing in silence."""
    assert shutil.which("groff")
