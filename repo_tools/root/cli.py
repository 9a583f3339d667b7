"""`repo-tools root`: draw up a root, sign it together, change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from tuf.api.metadata import Metadata, Root

from repo_tools.clickgroup import (
    DURATION,
    INPUT,
    INPUT_FILE,
    OUTPUT,
    ChangeOptions,
    RepositoryOptions,
    SigningOptions,
    answer,
    change_options,
    note,
    report,
    repository_options,
)
from repo_tools.environment import Environment
from repo_tools.errors import Declined, RehearsalFailed, RootInvalid
from repo_tools.keys.keyfile import PublicKey, load_key_ring, load_public_key
from repo_tools.keys.signers import open_signer
from repo_tools.root import ceremony
from repo_tools.root.files import read_root, store_root
from signpost.cli_support import Cli, json_option

_VALID = timedelta(days=365)


@click.group(cls=Cli)
def root() -> None:
    """The root of trust: draw one up, sign it together, change it."""


def _role_options(function: Any) -> Any:
    for role in reversed(ceremony.ROLES):
        function = click.option(
            f"--{role}-threshold",
            type=click.IntRange(min=1),
            help=f"Signatures that {role} metadata needs.",
        )(function)
        function = click.option(
            f"--{role}-key",
            multiple=True,
            type=INPUT_FILE,
            help=f"Public key of {role}. May be repeated.",
        )(function)
    return function


@root.command("init")
@click.argument("out", type=OUTPUT)
@_role_options
@click.option("--valid", type=DURATION, default=_VALID, help="How long it is good: 365 days.")
@json_option
@click.pass_obj
def init(env: Environment, /, out: Path, valid: timedelta, **roles: Any) -> None:
    """Draw up the first root, unsigned, in the file OUT.

    Takes public keys only. Thresholds are 1 where not given; at least one key is needed for each
    role. Next, `root sign`.
    """
    keys = {role: _keys(roles[f"{role}_key"]) for role in ceremony.ROLES}
    metadata = ceremony.first_root(keys, _thresholds(roles), _expires(env, valid))
    if out.exists():
        raise RootInvalid(str(out), "it exists, and roots are never overwritten")
    store_root(out, metadata, kernel=env.kernel)
    _report(metadata, None, out)


@root.command("change")
@click.argument("previous", type=INPUT_FILE)
@click.argument("out", type=OUTPUT)
@_role_options
@click.option(
    "--remove",
    "removed",
    multiple=True,
    metavar="ROLE=KEY",
    help="Take a key from a role: its public key file, or the start of its keyid.",
)
@click.option("--valid", type=DURATION, default=_VALID, help="How long it is good: 365 days.")
@json_option
@click.pass_obj
def change(
    env: Environment,
    /,
    previous: Path,
    out: Path,
    removed: tuple[str, ...],
    valid: timedelta,
    **roles: Any,
) -> None:
    """Draw up the root that follows PREVIOUS, unsigned, in the file OUT.

    `--ROLE-key` adds a key, `--remove` takes one away, `--ROLE-threshold` sets a threshold; without
    any of them only the expiry moves on. It has to be signed with the keys of both roots.
    """
    before = read_root(previous).signed
    difference = ceremony.RootChange(
        add=[(role, key) for role in ceremony.ROLES for key in _keys(roles[f"{role}_key"])],
        remove=[_removal(before, text) for text in removed],
        thresholds=_thresholds(roles),
    )
    metadata = ceremony.next_root(before, difference, _expires(env, valid))
    if out.exists():
        raise RootInvalid(str(out), "it exists, and roots are never overwritten")
    store_root(out, metadata, kernel=env.kernel)
    _report(metadata, before, out)


@root.command("sign")
@click.argument("file", type=INPUT_FILE)
@click.option("--key", "keys", multiple=True, required=True, type=INPUT, help="Root key file.")
@click.option("--previous", type=INPUT_FILE, help="The root before it; needed from version 2 on.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def sign(
    env: Environment, file: Path, keys: tuple[Path, ...], previous: Path | None, yes: bool
) -> None:
    """Add a signature to a root file, after showing what it says.

    Pass the file on to the next person until `root show` says that it is complete.
    """
    metadata = read_root(file)
    before = _previous(metadata.signed, previous)
    _tell(metadata.signed, before)
    if not yes and not env.confirm("Sign this root?"):
        raise Declined
    for key in load_key_ring(keys).values():
        ceremony.add_root_signature(metadata, open_signer(key, env.secrets), before)
    store_root(file, metadata, kernel=env.kernel)
    _report(metadata, before, file, tell=False)


@root.command("merge")
@click.argument("out", type=OUTPUT)
@click.argument("copies", nargs=-1, required=True, type=INPUT_FILE)
@json_option
@click.pass_obj
def merge(env: Environment, out: Path, copies: tuple[Path, ...]) -> None:
    """Bring the signatures of copies that were signed apart together in OUT."""
    merged = ceremony.merge_signatures([read_root(path) for path in copies])
    store_root(out, merged, kernel=env.kernel)
    answer(f"{out}: {len(merged.signatures)} signatures", {"signatures": list(merged.signatures)})


@root.command("show")
@click.argument("file", type=INPUT_FILE)
@click.option("--previous", type=INPUT_FILE, help="The root before it.")
@json_option
def show(file: Path, previous: Path | None) -> None:
    """Show what a root says, who has signed it, and which signatures are missing."""
    metadata = read_root(file)
    before = None if previous is None else read_root(previous).signed
    _report(metadata, before, file)


@root.command("publish")
@click.argument("file", type=INPUT_FILE)
@repository_options
@click.option(
    "--key",
    envvar="REPO_TOOLS_KEY",
    multiple=True,
    type=INPUT,
    help="Key file or directory: for roles that get other keys with this root.",
)
@click.option(
    "--shipped",
    multiple=True,
    type=INPUT_FILE,
    help="A root in images that are still in the field; rehearsed from. May be repeated.",
)
@change_options
@json_option
@click.pass_obj
def publish(
    env: Environment,
    file: Path,
    repository: RepositoryOptions,
    key: tuple[Path, ...],
    shipped: tuple[Path, ...],
    change: ChangeOptions,
) -> None:
    """Publish a complete root that follows the published one.

    Where it takes keys from other roles, their metadata is signed with old and new keys first, so
    that hosts with either root can update at any moment. A lost or stolen timestamp key is replaced
    without using it. Before anything is written, updog's own client is run against what each write
    will leave, from --root and every --shipped root.
    """
    from repo_tools.publish.root_change import publish_root  # noqa: PLC0415

    outcome = publish_root(
        repository.store(env),
        repository.prefix,
        trusted=repository.trusted(),
        data=file.read_bytes(),
        shipped=[path.read_bytes() for path in shipped],
        signing=SigningOptions(key, {}).signing(env),
        how=change.how(env),
    )
    report(outcome)


@root.command("rehearse")
@repository_options
@click.option("--shipped", multiple=True, type=INPUT_FILE, help="Another root to start from.")
@json_option
@click.pass_obj
def rehearse(env: Environment, repository: RepositoryOptions, shipped: tuple[Path, ...]) -> None:
    """Let updog's own client come to the repository, starting from old roots.

    It starts from --root and from each --shipped root, as a host that has been off since then.
    """
    from repo_tools.publish.rehearse import rehearse as run  # noqa: PLC0415

    roots = [repository.trusted(), *(path.read_bytes() for path in shipped)]
    found = run(repository.transport(env), roots, env.now)
    answer(
        "\n".join(each.text for each in found), {"rehearsals": [each.to_json() for each in found]}
    )
    for each in found:
        if each.failure:
            raise RehearsalFailed(each.root_version, each.failure)


def _report(
    metadata: Metadata[Root], before: Root | None, path: Path, *, tell: bool = True
) -> None:
    """Print the state of a root under way."""
    if tell:
        _tell(metadata.signed, before)
    quorums = ceremony.quorums(metadata, before)
    complete = not any(quorum.missing for quorum in quorums)
    lines = [
        f"{len(q.signed)} of {q.threshold} signatures that {q.of} asks for"
        + (f"; missing from: {', '.join(k[:8] for k in q.unsigned)}" if q.missing else "")
        for q in quorums
    ]
    state = "complete" if complete else "not complete"
    text = "\n".join([f"{path}: root version {metadata.signed.version}, {state}", *lines])
    answer(
        text,
        {
            "file": str(path),
            "version": metadata.signed.version,
            "expires": f"{metadata.signed.expires:%Y-%m-%dT%H:%M:%SZ}",
            "complete": complete,
            "signatures": [
                {"of": q.of, "threshold": q.threshold, "signed": q.signed, "unsigned": q.unsigned}
                for q in quorums
            ],
        },
    )


def _tell(root_: Root, before: Root | None) -> None:
    for line in ceremony.changes(before, root_):
        note(line)


def _previous(signed: Root, previous: Path | None) -> Root | None:
    if previous is None and signed.version > 1:
        raise RootInvalid(
            f"version {signed.version}",
            "it has to be compared with the root before it",
            hint="name that one with --previous",
        )
    return None if previous is None else read_root(previous).signed


def _keys(paths: Sequence[Path]) -> list[PublicKey]:
    return [load_public_key(path) for path in paths]


def _thresholds(roles: Mapping[str, Any]) -> dict[str, int]:
    given = {role: roles[f"{role}_threshold"] for role in ceremony.ROLES}
    return {role: threshold for role, threshold in given.items() if threshold is not None}


def _expires(env: Environment, valid: timedelta) -> Any:
    return env.now.replace(microsecond=0) + valid


def _removal(before: Root, text: str) -> tuple[str, str]:
    """Find the role and keyid that `ROLE=KEY` means."""
    role, _, key = text.partition("=")
    if role not in ceremony.ROLES or not key:
        raise click.BadParameter(f"{text!r} is not ROLE=KEY", param_hint="--remove")
    if Path(key).is_file():
        return role, load_public_key(Path(key)).keyid
    found = [keyid for keyid in before.roles[role].keyids if keyid.startswith(key)]
    if len(found) != 1:
        reason = f"{len(found)} keys of {role} start with {key!r}, not one"
        raise click.BadParameter(reason, param_hint="--remove")
    return role, found[0]
