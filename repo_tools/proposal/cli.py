"""`repo-tools proposal`: sign together what will be published."""

from __future__ import annotations

from pathlib import Path

import click
from tuf.api.metadata import Root

from partition.durable import write_file
from repo_tools.clickgroup import (
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
    signing_options,
)
from repo_tools.environment import Environment
from repo_tools.errors import Declined, ProposalInvalid
from repo_tools.keys.keyfile import load_key_ring
from repo_tools.keys.sign import add_signature
from repo_tools.keys.signers import open_signer
from repo_tools.proposal.file import Proposal, merge, parse_proposal
from repo_tools.proposal.review import progress, review
from repo_tools.publish.published import load_published
from repo_tools.publish.release import Ground
from repo_tools.root.ceremony import parse_root, require_complete
from repo_tools.root.files import read_root
from signpost.cli_support import Cli, json_option


@click.group(cls=Cli)
def proposal() -> None:
    """Proposals: sign together what will be published."""


@proposal.command("show")
@click.argument("file", type=INPUT_FILE)
@repository_options
@json_option
@click.pass_obj
def show(env: Environment, file: Path, repository: RepositoryOptions) -> None:
    """Show what a proposal changes, who has signed it, and which signatures are missing.

    It is compared with what is published at --repo, which may be a web address or a mirror too.
    """
    found = _read(file)
    ground = _ground(env, repository, found)
    _report(found, ground.voters[-1], _tell(found, ground, env))


@proposal.command("sign")
@click.argument("file", type=INPUT_FILE)
@repository_options
@click.option("--key", "keys", multiple=True, required=True, type=INPUT, help="Key file.")
@click.option(
    "--next-root",
    type=INPUT_FILE,
    help="A root that is not published yet: sign with a key that comes with it, too.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def sign(
    env: Environment,
    file: Path,
    repository: RepositoryOptions,
    keys: tuple[Path, ...],
    next_root: Path | None,
    yes: bool,
) -> None:
    """Add signatures to a proposal, after showing what it changes.

    A key signs the roles that it has. Pass the file on to the next person until `proposal show`
    says that it is complete; whoever publishes it can sign the rest.
    """
    found = _read(file)
    ground = _ground(env, repository, found)
    lines = _tell(found, ground, env)
    if not yes and not env.confirm("Sign this proposal?"):
        raise Declined
    roots = [ground.voters[-1], *([read_root(next_root).signed] if next_root else [])]
    for key in load_key_ring(keys).values():
        roles = [r for r in found.metadata if any(key.keyid in o.roles[r].keyids for o in roots)]
        if not roles:
            asked = " or ".join(found.metadata)
            raise ProposalInvalid(str(file), f"key {key.label} is no key of {asked}")
        signer = open_signer(key, env.secrets)
        for role in roles:
            add_signature(found.metadata[role], signer)
    write_file(file, found.to_bytes(), mode=0o644, private=False, kernel=env.kernel)
    _report(found, ground.voters[-1], lines)


@proposal.command("merge")
@click.argument("out", type=OUTPUT)
@click.argument("copies", nargs=-1, required=True, type=INPUT_FILE)
@json_option
@click.pass_obj
def merge_(env: Environment, out: Path, copies: tuple[Path, ...]) -> None:
    """Bring the signatures of copies that were signed apart together in OUT."""
    merged = merge([_read(path) for path in copies])
    write_file(out, merged.to_bytes(), mode=0o644, private=False, kernel=env.kernel)
    counts = {role: len(metadata.signatures) for role, metadata in merged.metadata.items()}
    text = ", ".join(f"{role} {count} signatures" for role, count in counts.items())
    answer(f"{out}: {text}", {"file": str(out), "signatures": counts})


@proposal.command("publish")
@click.argument("file", type=INPUT_FILE)
@repository_options
@signing_options("snapshot", "timestamp")
@change_options
@json_option
@click.pass_obj
def publish(
    env: Environment,
    file: Path,
    repository: RepositoryOptions,
    signing: SigningOptions,
    change: ChangeOptions,
) -> None:
    """Publish a proposal that enough people have signed.

    The keys at hand sign the timestamp, the snapshot if they suffice for it, and whatever else is
    missing. Refused when something was published since it was proposed, and when updog would refuse
    the result. An interrupted publish can be run again.
    """
    from repo_tools.proposal.publish import publish_proposal  # noqa: PLC0415

    outcome = publish_proposal(
        repository.store(env),
        repository.prefix,
        _read(file),
        trusted=repository.trusted(),
        signing=signing.signing(env),
        how=change.how(env),
    )
    report(outcome)


def _read(path: Path) -> Proposal:
    return parse_proposal(path.read_bytes(), str(path))


def _ground(env: Environment, repository: RepositoryOptions, found: Proposal) -> Ground:
    """What a proposal is compared with: what is published, or nothing for a first one."""
    trusted, prefix = repository.trusted(), repository.prefix
    if not found.follows:
        first = parse_root(trusted, "given as trusted")
        require_complete(first, None)
        return Ground(repository.location, prefix, (first.signed,), None, {})
    published = load_published(repository.transport(env), trusted)
    return Ground(published.where, prefix, (published.root.signed,), published, {})


def _tell(found: Proposal, ground: Ground, env: Environment) -> tuple[str, ...]:
    lines = review(found, ground, env.now, may_renew=True)
    for line in lines:
        note(line)
    return lines


def _report(found: Proposal, root: Root, lines: tuple[str, ...]) -> None:
    states = progress(found, root)
    complete = all(state.complete for state in states)
    word = "complete" if complete else "not complete"
    text = "\n".join([f"{found.name}: {word}", *(state.text for state in states)])
    answer(
        text,
        {
            "file": found.name,
            "repository": found.repository,
            "changes": lines,
            "complete": complete,
            "roles": [state.to_json() for state in states],
        },
    )
