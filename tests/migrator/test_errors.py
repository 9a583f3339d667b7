"""Every error renders as one line that says what was being done, to what, and what was seen."""

from __future__ import annotations

import pytest

from migrator import errors

RENDERED = {
    errors.KeyInvalid("a..b", "a segment is empty"): "refusing key 'a..b': a segment is empty",
    errors.ValueInvalid("settings.a", "not JSON"): "refusing the value of settings.a: not JSON",
    errors.DefaultsInvalid("/d.toml", "it is not TOML"): (
        "cannot use defaults from /d.toml: it is not TOML"
    ),
    errors.ChainBroken("/d/current", "it leads to v1, which does not exist"): (
        "cannot follow the datastore's links from /d/current: it leads to v1, which does not exist"
    ),
    errors.StoreCorrupt("/d/live/a", "not JSON"): "cannot read datastore at /d/live/a: not JSON",
    errors.StoreUnwritable("write", "/d/a", "No space left on device"): (
        "cannot write /d/a: No space left on device"
    ),
    errors.NoSpace("/d", "bytes", 20, 10): (
        "refusing to write a new copy to /d: it needs 20 bytes, 10 are free"
    ),
    errors.KeyMissing("settings.a"): "key settings.a has no value",
    errors.TransactionMissing("tx"): "there is no pending transaction 'tx'",
    errors.CacheIncomplete("m.lz4", "there is no file /m"): (
        "cannot use the cached m.lz4: there is no file /m"
    ),
    errors.MigrationInvalid("m.lz4", "it is not TOML"): (
        "cannot use migration m.lz4: it is not TOML"
    ),
    errors.StepFailed("x is a list"): "x is a list",
    errors.MigrationFailed("m.lz4", "forward", "it exited with 1", "why"): (
        "migration m.lz4 failed going forward: it exited with 1; it printed: why"
    ),
    errors.MigrationFailed("m.lz4", "backward", "it exited with 1"): (
        "migration m.lz4 failed going backward: it exited with 1"
    ),
    errors.ResultInvalid("x"): "refusing the resulting settings: x",
    errors.RoundTripDiffers("m", tuple("abcdefg")): (
        "migration m does not bring back what was there: a, b, c, d, e and 2 more"
    ),
    errors.RoundTripDiffers("m", ("a",)): "migration m does not bring back what was there: a",
}
BASES = {errors.MigratorError, errors.StoreError, errors.MigrationError}


@pytest.mark.parametrize("error", RENDERED, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line(error: errors.MigratorError) -> None:
    assert str(error) == RENDERED[error]
    assert error.exit_code == 1


def test_no_error_is_forgotten() -> None:
    found = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.MigratorError)
    }
    assert found - BASES == {type(error) for error in RENDERED}
