"""Every error of the package as the user reads it."""

from __future__ import annotations

import inspect

import pytest

from signpost import errors
from signpost.errors import SignpostError

NAME_IT = "\nhint: name it with --active-set A or --active-set B"

MESSAGES: dict[SignpostError, str] = {
    errors.LayoutInvalid("/dev/sda", "it has 0 boot partitions, expected 1 or 2"): (
        "cannot find the partition sets of /dev/sda: it has 0 boot partitions, expected 1 or 2"
    ),
    errors.ActiveSetUnknown("/dev/sda", "it has no set B"): (
        f"cannot tell the active set of /dev/sda: it has no set B{NAME_IT}"
    ),
    errors.ActiveSetMissing("disk.img", "a disk image does not run"): (
        f"cannot tell the active set of disk.img: a disk image does not run{NAME_IT}"
    ),
    errors.HealthConfigInvalid("/etc/signpost/health.toml", "unknown key 'dead_line'"): (
        "cannot use /etc/signpost/health.toml: unknown key 'dead_line'"
    ),
    errors.RestartFailed("systemctl is not installed"): (
        "cannot restart the system: systemctl is not installed"
    ),
    errors.NoInactiveSet("clear-inactive", "the disk has set A only, expected two"): (
        "refusing clear-inactive: the disk has set A only, expected two"
    ),
    errors.ActiveNotConfirmed("clear-inactive", "the running set B is not known to boot"): (
        "refusing clear-inactive: the running set B is not known to boot\n"
        "hint: once the system is known to be healthy, run signpost mark-successful-boot"
    ),
    errors.InactiveNotCleared("mark-inactive-valid", "set B was not cleared"): (
        "refusing mark-inactive-valid: set B was not cleared\n"
        "hint: run signpost clear-inactive before writing to the inactive set"
    ),
    errors.NotMarkedValid("upgrade-to-inactive", "set B was never marked valid"): (
        "refusing upgrade-to-inactive: set B was never marked valid"
    ),
    errors.NoUpgradePending("cancel-upgrade", "no upgrade to set B is pending"): (
        "refusing cancel-upgrade: no upgrade to set B is pending"
    ),
    errors.NotBootable("rollback-to-inactive", "set B would not boot"): (
        "refusing rollback-to-inactive: set B would not boot"
    ),
    errors.NothingBoots("to choose a set", "none will boot"): (
        "refusing to choose a set: none will boot\n"
        "hint: start from a rescue system and give one set a priority and a try"
    ),
}


@pytest.mark.parametrize("error", MESSAGES, ids=lambda error: type(error).__name__)
def test_is_one_line_and_perhaps_a_hint(error: SignpostError) -> None:
    shown = str(error) + (f"\nhint: {error.hint}" if error.hint else "")

    assert shown == MESSAGES[error]
    assert error.exit_code == (2 if isinstance(error, errors.ActiveSetMissing) else 1)


def test_none_is_missing() -> None:
    classes = {
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, SignpostError)
    }

    assert {type(error) for error in MESSAGES} == classes - {SignpostError, errors.Refused}
