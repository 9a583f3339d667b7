"""What can go wrong with an update, one class per kind.

UpdogError
├── ConfigInvalid
├── ReleaseInvalid
├── ManifestInvalid
├── NoUpdateAvailable
├── NoSuchUpdate
├── NoMigrationPath
├── UpdateInProgress
├── RehearsalFailed
├── RebootRefused
├── RebootFailed
├── DownloadFailed
│   ├── NotFound
│   ├── Forbidden
│   └── CannotResume
├── AddressInvalid
├── BundleInvalid
├── ClockNotSet
├── RepositoryInvalid
│   └── MetadataExpired
├── NoSuchTarget
├── UnsafeTargetName
├── StreamInvalid
├── ImageMismatch
└── Interrupted
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from semver import Version


class UpdogError(Exception):
    """Base of all errors of this package; `str()` is the one line that the user sees."""

    exit_code = 1
    hint: str | None = None


class ConfigInvalid(UpdogError):
    """The configuration cannot be used; `key` is what is wrong with it, if it is one key."""

    def __init__(self, path: str | os.PathLike[str], key: str | None, why: str) -> None:
        self.path = path
        self.key = key
        self.why = why
        what = f"{key}: {why}" if key else why
        super().__init__(f"cannot use the configuration {path}: {what}")


class ReleaseInvalid(UpdogError):
    """The host does not say what it runs; `key` is the missing or wrong one, if it is one."""

    def __init__(self, path: str | os.PathLike[str], key: str | None, why: str) -> None:
        self.path = path
        self.key = key
        self.why = why
        what = f"{key}: {why}" if key else why
        super().__init__(f"cannot tell which release this host runs from {path}: {what}")


class ManifestInvalid(UpdogError):
    """The manifest cannot be understood; `where` is the place in it, `updates[3].version`."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        self.why = why
        super().__init__(
            f"cannot use the manifest: {where}: {why}"
            if where
            else f"cannot use the manifest: {why}"
        )


class NoUpdateAvailable(UpdogError):
    """There is nothing to update to now. Only `check-update` ends with it."""

    exit_code = 3

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"no update available: {why}")


class NoSuchUpdate(UpdogError):
    """The version that was asked for by name cannot be had; `why` says what is in the way."""

    def __init__(self, version: Version, why: str) -> None:
        self.version = version
        self.why = why
        super().__init__(f"cannot update to {version}: {why}")


class NoMigrationPath(UpdogError):
    """The settings cannot get from one version to the other; nothing was written."""

    hint = "the repository's owner has to list the missing step under migrations"

    def __init__(self, current: Version, wanted: Version) -> None:
        self.current = current
        self.wanted = wanted
        super().__init__(
            f"refusing to go from {current} to {wanted}: the manifest has no migration path"
        )


class UpdateInProgress(UpdogError):
    """Another updater is at work; `holder` is its process id, where it is known."""

    hint = "wait for it to finish; `updog status` shows how far it is"

    def __init__(self, holder: int | None) -> None:
        self.holder = holder
        who = f"process {holder}" if holder else "another process"
        super().__init__(f"cannot start: an update is already running ({who})")


class RehearsalFailed(UpdogError):
    """The settings would not survive the update: the migrations failed on a copy of them."""

    hint = (
        "the host keeps running as it is; "
        "rehearse_migrations = false in updog.toml updates without this check"
    )

    def __init__(self, version: Version, why: str) -> None:
        self.version = version
        self.why = why
        super().__init__(f"refusing to update to {version}: rehearsing its migrations: {why}")


class RebootRefused(UpdogError):
    """A reboot was asked for where it makes no sense; nothing was done."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"refusing --reboot: {why}")


class RebootFailed(UpdogError):
    """The update is in place, and the system did not accept to reboot."""

    hint = "reboot the host to run the update"

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"cannot reboot: {why}")


class DownloadFailed(UpdogError):
    """Bytes did not arrive, or cannot be what was asked for."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"cannot download {url}: {reason}")


class NotFound(DownloadFailed):
    """The repository says that it has no such file."""


class Forbidden(DownloadFailed):
    """The repository does not let us have the file, or does not say that there is none."""

    hint = "object stores answer so for files that are not there, unless listing is allowed"


class CannotResume(DownloadFailed):
    """The server cannot continue where the data at hand ends; starting over may work."""


class AddressInvalid(UpdogError):
    """A repository's address cannot be used; says what is wrong, never the address itself."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"refusing the repository's address: {problem}")


class BundleInvalid(UpdogError):
    """A bundle file is not what one should be; nothing of it is used."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"cannot use the bundle {path}: {why}")


class ClockNotSet(UpdogError):
    """This host's clock was never set, so expiry means nothing."""

    hint = (
        'set the clock, or let the image\'s build time stand in: clock_floor = "build-time" in '
        "updog.toml"
    )

    def __init__(self, clock: str) -> None:
        self.clock = clock
        super().__init__(
            f"cannot tell whether metadata has expired: this clock says {clock}, it is not set"
        )


class RepositoryInvalid(UpdogError):
    """The repository's metadata does not hold; nothing of it is used. `role` says which."""

    def __init__(self, repository: str, role: str, reason: str) -> None:
        self.repository = repository
        self.role = role
        self.reason = reason
        super().__init__(f"refusing the {role} metadata of {repository}: {reason}")


class MetadataExpired(RepositoryInvalid):
    """Metadata was valid until `expires`, and it is `now`."""

    hint = "if this clock is right, whoever owns the repository must renew its metadata"

    def __init__(self, repository: str, role: str, expires: str, now: str) -> None:
        self.expires = expires
        self.now = now
        super().__init__(repository, role, f"it expired on {expires}; this clock says {now}")


class NoSuchTarget(UpdogError):
    """Verified metadata lists no target of this name."""

    def __init__(self, repository: str, name: str) -> None:
        self.repository = repository
        self.name = name
        super().__init__(f"{repository} lists no target {name!r}")


class UnsafeTargetName(UpdogError):
    """A target's name cannot be used as a file name or in a URL."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"refusing target name {name!r}: {problem}")


class StreamInvalid(UpdogError):
    """What was received is not the target: its length, digest or LZ4 frame does not hold.

    `image` is the target's name, `reason` what was seen and what was expected.
    """

    def __init__(self, image: str, reason: str) -> None:
        self.image = image
        self.reason = reason
        super().__init__(f"refusing {image}: {reason}")


class ImageMismatch(UpdogError):
    """What the device gives back is not what belongs there, or two images do not go together.

    `where` names the partition or partitions, `reason` what differs.
    """

    def __init__(self, image: str, where: str, reason: str) -> None:
        self.image = image
        self.where = where
        self.reason = reason
        super().__init__(f"cannot trust {image} on {where}: {reason}")


class Interrupted(UpdogError):
    """A signal asked to stop. What was done so far can be continued."""

    hint = "run the same command again to continue"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"interrupted while {what}")
