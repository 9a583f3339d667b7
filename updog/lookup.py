"""What this host can be updated to: attempts so far, wishes, and the choice among what is offered.

Used by `check-update` and by every update, so that both answer alike.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from partition.errors import PartitionError
from signpost.errors import SignpostError
from updog.attempts import Evidence
from updog.attempts_file import load_attempts, remember
from updog.choose import Choice, Wish, choose
from updog.errors import UpdateInProgress
from updog.exclusion import only_updater
from updog.manifest import MANIFEST_NAME, Manifest
from updog.os_disk import locate_disk, open_disk

if TYPE_CHECKING:
    from datetime import datetime

    from signpost.device import BootDisk
    from updog.attempts import Attempts, Staged
    from updog.environment import Environment
    from updog.transport import Transport
    from updog.versions import Version

MAX_MANIFEST_BYTES: Final = 16 << 20
"""Several times what 10,000 updates with their waves take."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for, beyond the configuration.

    Attributes:
        image: Exactly this version.
        ignore_waves: Do not wait for this host's turn.
    """

    image: Version | None = None
    ignore_waves: bool = False


def check(env: Environment, transport: Transport, request: Request) -> Choice:
    """Ask the repository, as cheaply as it can be done, and choose. Installs nothing.

    Raises:
        UpdogError: See `updog.recheck` and `choose_from`.
        PartitionError: The state cannot be read or written.
    """
    from updog.recheck import current_target  # noqa: PLC0415  an update does not need it

    current = current_target(env, transport, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    attempts = judged_attempts(env)
    return choose_from(env, current.data, attempts, request, current.now)[1]


def choose_from(
    env: Environment, manifest: bytes, attempts: Attempts, request: Request, now: datetime
) -> tuple[Manifest, Choice]:
    """Parse a verified manifest and choose.

    Args:
        env: The host.
        manifest: The target's verified bytes.
        attempts: Judged.
        request: From the command line.
        now: The time that the metadata was judged by.

    Raises:
        ManifestInvalid: It cannot be understood.
    """
    parsed = Manifest.from_bytes(manifest)
    wish = Wish(
        release=env.release,
        seed=env.config.seed,
        now=now,
        image=request.image,
        version_lock=env.config.version_lock,
        ignore_waves=request.ignore_waves or env.config.ignore_waves,
        delay=timedelta(hours=env.config.delay_hours),
        failed=attempts.failed(env.config.max_attempts),
    )
    return parsed, choose(parsed, wish)


def judged_attempts(env: Environment) -> Attempts:
    """Return what is remembered, judged by what the disk shows now, if it can be read.

    Only an attempt that is still open makes it look at the disk at all. A verdict is kept, so that
    later changes of the disk do not undo it; where it cannot be, the next run comes to it again.

    Raises:
        PartitionError: The file cannot be read, or somebody else could have written it.
    """
    attempts = load_attempts(env.paths.attempts)
    if attempts.staged is None:
        return attempts
    evidence = Evidence(env.now, env.boot_id, env.release.version)
    with suppress(PartitionError, SignpostError), open_disk(env, locate_disk(env)) as disk:
        evidence = evidence_of(env, disk, attempts.staged)
    judged = attempts.judge(evidence)
    if judged != attempts:
        with suppress(PartitionError, UpdateInProgress), only_updater(env):
            return remember(env, lambda before: before.judge(evidence))
    return judged


def evidence_of(env: Environment, disk: BootDisk, staged: Staged | None) -> Evidence:
    """What an open disk, and the record of health checks, show of how an attempt ended."""
    state = disk.state
    return Evidence(
        now=env.now,
        boot_id=env.boot_id,
        running=env.release.version,
        active=state.active,
        flags=state.sets,
        reason=_reason(env, staged) if staged else None,
    )


def _reason(env: Environment, staged: Staged) -> str | None:
    """Why the staged system was given up, if it or the boot stage left word."""
    from signpost.health_files import boot_problems, load_history  # noqa: PLC0415  seldom needed

    root = env.paths.root
    slot, version = staged.slot.value, str(staged.version)
    if slot in boot_problems(root):
        return boot_problems(root)[slot]
    try:
        boots = load_history(root).boots
    except PartitionError:
        return None
    mine = (boot for boot in boots if boot.active_set == slot and boot.version in {"", version})
    return next((boot.reason for boot in mine if not boot.passed), None) or None
