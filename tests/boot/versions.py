"""The versions of the test operating system: what they contain, and how their settings differ.

1.0.0   greets with `settings.motd`
2.0.0   greets with `settings.host.greeting`, which the migration renames, and has a new setting
2.1.0   its init ends: the kernel panics
2.2.0   its required check fails
2.3.0   its required check is never ready, and the deadline passes
3.0.0   brings its own kernel, and renames the setting again
"""

from __future__ import annotations

from typing import Final

from tests.boot.build import Version

_GREETING_KEY = "usr/share/testos/greeting-key"
_CONTENT = "usr/share/testos/content"
_REQUIRED = "etc/signpost/health/required.d"

DEFAULTS: Final = """\
[settings]
motd = "hello from the defaults"
"""

BROKEN_INIT: Final = """\
#!/bin/sh
echo "testos 2.1.0: init has nothing to do and ends"
exit 1
"""

FAILING_CHECK: Final = """\
#!/bin/sh
echo "the database does not answer"
exit 3
"""

NEVER_READY_CHECK: Final = """\
#!/bin/sh
echo "still loading the catalogue"
exit 75
"""

# Migration files by the step they belong to; each is a document of one or two steps.
MIGRATIONS: Final = {
    ("1.0.0", "2.0.0"): (
        "migrate_v2.0.0_greeting.toml",
        """\
description = "the message of the day becomes the host's greeting, in a colour"

[[steps]]
kind = "rename-settings"
names = { "settings.motd" = "settings.host.greeting" }

[[steps]]
kind = "add-settings"
settings = ["settings.host.colour"]
""",
    ),
    ("2.0.0", "3.0.0"): (
        "migrate_v3.0.0_banner.toml",
        """\
description = "a greeting is a banner"

[[steps]]
kind = "rename-settings"
names = { "settings.host.greeting" = "settings.host.banner.text" }
""",
    ),
}


def versions(root_json: str) -> dict[str, Version]:
    """All versions by number, each with the repository's root of trust in it."""
    common = {"usr/share/updog/root.json": root_json}
    motd = {_GREETING_KEY: "settings/motd\n", "usr/share/updog/defaults.toml": DEFAULTS}
    greeting = {_GREETING_KEY: "settings/host/greeting\n"}
    own = {
        "1.0.0": motd,
        "2.0.0": greeting,
        "2.1.0": {**greeting, "usr/sbin/init": BROKEN_INIT},
        "2.2.0": {**greeting, f"{_REQUIRED}/50-database": FAILING_CHECK},
        "2.3.0": {
            **greeting,
            f"{_REQUIRED}/60-catalogue": NEVER_READY_CHECK,
            "etc/signpost/health.toml": "deadline_seconds = 10\nretry_seconds = 2\n",
        },
        "3.0.0": {_GREETING_KEY: "settings/host/banner/text\n"},
    }
    return {
        number: Version(
            number,
            {**common, **files, _CONTENT: f"this is version {number}\n"},
            own_kernel=number == "3.0.0",
        )
        for number, files in own.items()
    }
