"""What can go wrong on the owner's side, as one tree.

    RepoToolsError
    ├── InputInvalid                       a file or value of the user's cannot be used
    ├── ExtraMissing                       an optional library is not installed
    ├── KeyFileInvalid, KeyUnavailable (WrongPassphrase), SigningFailed
    ├── RootInvalid, NotEnoughSignatures, RehearsalFailed
    ├── StoreFailed (AlreadyThere, PublishedMeanwhile)
    ├── NoRepository, RepositoryExists, RepositoryDamaged, RepositoryUntrusted
    ├── ImageInvalid, LayoutInvalid, PolicyInvalid, ManifestEditRefused
    └── PublishRefused, ProposalInvalid, ValidationFailed, ExpiryNear, Declined      verdicts

The text of an error is the user's line: what was being done, to what, what was seen, what was
expected. Facts are attributes. Every error ends a command with exit code 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class RepoToolsError(Exception):
    """Base of every error that `repo-tools` and `updata` report in one line."""

    exit_code = 1
    hint: str | None = None


class InputInvalid(RepoToolsError):
    """A file or value that the user gave cannot be used."""

    def __init__(self, what: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot read {what}: {reason}")
        self.what = what
        self.reason = reason
        self.hint = hint


class ExtraMissing(RepoToolsError):
    """A feature needs libraries that are not installed."""

    def __init__(self, extra: str, library: str) -> None:
        super().__init__(f"cannot do this without the library {library}")
        self.extra = extra
        self.library = library
        self.hint = f"it comes with the extra `updog[{extra}]`"


class KeyFileInvalid(RepoToolsError):
    """A key file is damaged, of an unknown kind, or does not belong to its other half."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot use key file {path}: {reason}")
        self.path = path
        self.reason = reason


class KeyUnavailable(RepoToolsError):
    """The private part of a key is out of reach here."""

    def __init__(self, key: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot sign with key {key}: {reason}")
        self.key = key
        self.reason = reason
        self.hint = hint


class WrongPassphrase(KeyUnavailable):
    """An encrypted key file did not open."""

    def __init__(self, key: str) -> None:
        super().__init__(key, "the passphrase does not open it")


class SigningFailed(RepoToolsError):
    """A signer was there and refused or broke."""

    def __init__(self, key: str, role: str, reason: str) -> None:
        super().__init__(f"cannot sign {role} with key {key}: {reason}")
        self.key = key
        self.role = role
        self.reason = reason


class RootInvalid(RepoToolsError):
    """A root file cannot be what it is meant to be."""

    def __init__(self, what: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot use root {what}: {reason}")
        self.what = what
        self.reason = reason
        self.hint = hint


class NotEnoughSignatures(RepoToolsError):
    """A role's threshold is not met."""

    def __init__(
        self, role: str, have: int, need: int, missing: Sequence[str] = (), *, by: str = ""
    ) -> None:
        keys = f"; keys that may still sign: {', '.join(missing)}" if missing else ""
        super().__init__(
            f"cannot publish {role}: it has {have} of the {need} signatures that {by or 'the root'}"
            f" asks for{keys}"
        )
        self.role = role
        self.have = have
        self.need = need
        self.missing = tuple(missing)
        if not role.startswith("root"):
            self.hint = "`--propose FILE` lets others sign on machines of their own"


class RehearsalFailed(RepoToolsError):
    """A host that starts from an old root would not get to the repository."""

    def __init__(self, root_version: int, reason: str) -> None:
        super().__init__(
            f"refusing: a host that starts from root version {root_version} would fail: {reason}"
        )
        self.root_version = root_version
        self.reason = reason


class StoreFailed(RepoToolsError):
    """Reading from or writing to the place of a repository failed, or was not allowed."""

    def __init__(self, doing: str, where: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot {doing} {where}: {reason}")
        self.doing = doing
        self.where = where
        self.reason = reason
        self.hint = hint


class AlreadyThere(StoreFailed):
    """A file that never changes exists already, with other contents."""

    def __init__(self, where: str) -> None:
        super().__init__("write", where, "it exists with other contents, and never changes")


class PublishedMeanwhile(StoreFailed):
    """Somebody else published between our reading and our writing."""

    def __init__(self, where: str) -> None:
        super().__init__(
            "publish to", where, "somebody else published meanwhile", hint="run the command again"
        )


class NoRepository(RepoToolsError):
    """There is definitely no repository at a location."""

    def __init__(self, where: str) -> None:
        super().__init__(f"cannot open the repository at {where}: there is none")
        self.where = where
        self.hint = "`repo-tools repo init` makes one"


class RepositoryExists(RepoToolsError):
    """A repository is there where a new one was asked for."""

    def __init__(self, where: str) -> None:
        super().__init__(f"cannot make a repository at {where}: there is one already")
        self.where = where


class RepositoryDamaged(RepoToolsError):
    """Where a new repository was asked for lie the remains of one that hosts know."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"cannot make a repository at {where}: there was one, and its timestamp.json is missing"
        )
        self.where = where
        self.hint = "bring that file back: hosts would refuse one that starts over"


class RepositoryUntrusted(RepoToolsError):
    """What a repository holds does not follow from the trusted root."""

    def __init__(self, where: str, role: str, reason: str) -> None:
        super().__init__(f"cannot trust {role} of {where}: {reason}")
        self.where = where
        self.role = role
        self.reason = reason


class ImageInvalid(RepoToolsError):
    """An image cannot be published as it is."""

    def __init__(self, image: str, reason: str) -> None:
        super().__init__(f"cannot publish image {image}: {reason}")
        self.image = image
        self.reason = reason


class LayoutInvalid(RepoToolsError):
    """A disk layout does not hold together."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"cannot use disk layout {what}: {reason}")
        self.what = what
        self.reason = reason


class PolicyInvalid(RepoToolsError):
    """A wave policy is not one."""

    def __init__(self, policy: str, reason: str) -> None:
        super().__init__(f"cannot use wave policy {policy}: {reason}")
        self.policy = policy
        self.reason = reason


class ManifestEditRefused(RepoToolsError):
    """An edit of a manifest makes no sense there."""

    def __init__(self, doing: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot {doing}: {reason}")
        self.doing = doing
        self.reason = reason
        self.hint = hint


class PublishRefused(RepoToolsError):
    """An update that hosts could not take, or should not; every reason at once."""

    def __init__(self, update: str, problems: Sequence[str]) -> None:
        super().__init__(f"refusing to publish {update}: {'; '.join(problems)}")
        self.problems = tuple(problems)


class ProposalInvalid(RepoToolsError):
    """A proposal is none, does not fit what is published, or does more than it shows."""

    def __init__(self, proposal: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot use proposal {proposal}: {reason}")
        self.proposal = proposal
        self.reason = reason
        self.hint = hint


class ValidationFailed(RepoToolsError):
    """A repository or a manifest has faults; the report lists them."""

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        super().__init__(f"{where} is not sound: {problem_count(problems)}")
        self.problems = tuple(problems)


def problem_count(problems: Sequence[str]) -> str:
    """How many problems there are, in words."""
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"


class Declined(RepoToolsError):
    """The user looked at what was going to happen, and said no."""

    def __init__(self) -> None:
        super().__init__("nothing was changed, as you wished")


class ExpiryNear(RepoToolsError):
    """Metadata expires soon, or has expired."""

    def __init__(self, where: str, role: str, expires: datetime, *, expired: bool) -> None:
        verb = "expired" if expired else "expires"
        super().__init__(f"{role} of {where} {verb} on {expires:%Y-%m-%d %H:%M} UTC")
        self.role = role
        self.expires = expires
        self.hint = (
            "a new root has to be signed: `repo-tools root change`"
            if role == "root"
            else "`repo-tools repo refresh` renews it"
        )
