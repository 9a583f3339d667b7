"""A real distribution's history, carried from its first release to a late one and back.

Settings and migrations are Bottlerocket's (bottlerocket-os/bottlerocket, sources/api/migration and
sources/settings-migrations; the AWS variant), transcribed to data: the names of targets and of
settings, the templates and the lists are theirs. Values at each version are written out here, from
what the releases' defaults and notes say, not computed.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator import pack
from migrator.run import migrate
from tests.migrator.builders import HASTY, Host

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = "328549459982.dkr.ecr.us-west-2.amazonaws.com"
OLD_TEMPLATE = "328549459982.dkr.ecr.{{ settings.aws.region }}.amazonaws.com/bottlerocket"
HELPER = f"""
[helpers.ecr-prefix]
default = "328549459982.dkr.ecr.us-east-1.amazonaws.com"
values = {{ us-west-2 = "{REGISTRY}" }}
"""


def template(container: str, old: str, new: str) -> str:
    """ReplaceTemplateMigration of a host container's source."""
    return f"""{HELPER}
[[steps]]
kind = "ReplaceTemplateMigration"
setting = "settings.host-containers.{container}.source"
old_template = "{old}"
new_template = "{new}"
"""


def helper_template(container: str, version: str) -> str:
    return f"{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-{container}:{version}"


def schnauzer(container: str, old: str, new: str) -> str:
    """ReplaceSchnauzerMigration of a host container's source."""
    lines = [
        "schnauzer-v2 render --requires 'aws@v1(helpers=[ecr-prefix])' --template "
        f"'{helper_template(container, version)}'"
        for version in (old, new)
    ]
    return f"""{HELPER}
[[steps]]
kind = "ReplaceSchnauzerMigration"
setting = "settings.host-containers.{container}.source"
old_schnauzer_cmdline = "{lines[0]}"
new_schnauzer_cmdline = "{lines[1]}"
"""


def add_settings(*settings: str) -> str:
    return f'[[steps]]\nkind = "AddSettingsMigration"\nsettings = {list(settings)}'


def add_prefixes(*prefixes: str) -> str:
    return f'[[steps]]\nkind = "AddPrefixesMigration"\nprefixes = {list(prefixes)}'


def metadata_list(setting: str, old: list[str], new: list[str]) -> str:
    return f"""
[[steps]]
kind = "ReplaceMetadataListsMigration"
items = [
  {{ setting = "{setting}", metadata = "affected-services", old_vals = {old}, new_vals = {new} }},
]
"""


TAINTS = """
[[steps]]
kind = "convert"
prefixes = ["settings.kubernetes.node-taints."]
forward = "to-list"
backward = "first"
"""
GC_PERCENT = """
[[steps]]
kind = "convert"
settings = [
  "settings.kubernetes.image-gc-high-threshold-percent",
  "settings.kubernetes.image-gc-low-threshold-percent",
]
backward = "to-string"
"""
# registry-mirror-representation: a map becomes a list of objects, and back. Data cannot say that.
MIRRORS = """
from migrator import Migration


class ChangeRegistryMirrors(Migration):
    def forward(self, data, metadata):
        registry = data.get("settings", {}).get("container-registry", {})
        mirrors = registry.get("mirrors")
        if isinstance(mirrors, dict):
            registry["mirrors"] = [
                {"registry": name, "endpoint": mirrors[name]} for name in sorted(mirrors)
            ]

    def backward(self, data, metadata):
        registry = data.get("settings", {}).get("container-registry", {})
        mirrors = registry.get("mirrors")
        if isinstance(mirrors, list):
            registry["mirrors"] = {each["registry"]: each["endpoint"] for each in mirrors}
"""

# Version, and the migrations that lead to it from the release before.
HISTORY: list[tuple[str, dict[str, str]]] = [
    ("0.3.1", {}),
    (
        "0.4.1",
        {
            "add-version-lock-ignore-waves": add_settings(
                "settings.updates.version-lock", "settings.updates.ignore-waves"
            ),
            "pivot-repo-2020-07-07": """
[[steps]]
kind = "replace-template"
setting = "settings.updates.metadata-base-url"
old-template = "https://updates.example/2020-02-02/{{ os.variant_id }}/{{ os.arch }}/"
new-template = "https://updates.example/2020-07-07/{{ os.variant_id }}/{{ os.arch }}/"
""",
        },
    ),
    (
        "0.5.0",
        {
            "add-cluster-domain": add_settings("settings.kubernetes.cluster-domain"),
            "migrate-admin-container-v0-5-2": template(
                "admin", f"{OLD_TEMPLATE}-admin:v0.5.0", f"{OLD_TEMPLATE}-admin:v0.5.2"
            ),
            "migrate-control-container-v0-4-1": template(
                "control", f"{OLD_TEMPLATE}-control:v0.4.0", f"{OLD_TEMPLATE}-control:v0.4.1"
            ),
        },
    ),
    ("1.0.0-rc1", {}),
    (
        "1.0.0",
        {
            "ecr-helper-admin": template(
                "admin", f"{OLD_TEMPLATE}-admin:v0.5.2", helper_template("admin", "v0.5.2")
            ),
            "ecr-helper-control": template(
                "control", f"{OLD_TEMPLATE}-control:v0.4.1", helper_template("control", "v0.4.1")
            ),
        },
    ),
    ("1.0.3", {"add-sysctl": add_prefixes("settings.kernel.sysctl", "services.sysctl")}),
    (
        "1.0.5",
        {
            "add-proxy-restart": add_prefixes("settings.network"),
            "add-user-data": '[[steps]]\nkind = "add-prefix-suffix"\n'
            'prefix = "settings.host-containers"\nsuffix = "user-data"',
        },
    ),
    (
        "1.1.0",
        {
            "admin-container-v0-7-0": template(
                "admin", helper_template("admin", "v0.5.2"), helper_template("admin", "v0.7.0")
            ),
            "proxy-affect-host-containers": metadata_list(
                "settings.network", ["containerd", "kubernetes"], ["containerd", "host-containerd"]
            ),
        },
    ),
    (
        "1.2.0",
        {
            "container-registry-mirrors": add_prefixes("settings.container-registry"),
            "hostname-setting": add_settings("settings.network.hostname"),
        },
    ),
    ("1.3.0", {}),
    ("1.4.0", {"registry-mirror-representation": MIRRORS}),
    ("1.6.0", {"node-taints-representation": TAINTS}),
    (
        "1.10.0",
        {
            "dns-settings": add_prefixes("settings.dns", "services.dns"),
            "kubelet-log-level": add_settings("settings.kubernetes.log-level"),
        },
    ),
    ("1.14.0", {"kubernetes-gc-percent-type-change": GC_PERCENT}),
    (
        "1.16.0",
        {
            "schnauzer-v2-generators": f"""
[[steps]]
kind = "ReplaceMetadataMigration"
setting = "settings.host-containers.admin.source"
metadata = "setting-generator"
old_val = "schnauzer settings.host-containers.admin.source"
new_val = "schnauzer-v2 render --requires 'aws@v1(helpers=[ecr-prefix])' --template '{
                helper_template("admin", "v0.7.0")
            }'"

[[steps]]
kind = "remove-metadata"
setting = "settings.host-containers.admin.source"
metadata = "template"
""",
        },
    ),
    ("1.19.0", {"aws-admin-container-v0-11-0": schnauzer("admin", "v0.7.0", "v0.11.0")}),
    (
        "1.20.0",
        {
            "deprecate-log4j": '[[steps]]\nkind = "RemoveSettingsMigration"\n'
            'settings = ["settings.oci-hooks.log4j-hotpatch-enabled"]',
            "bootstrap-services": '[[steps]]\nkind = "ReplaceListsMigration"\nitems = [\n'
            '  { setting = "services.host-containers.configuration-files", '
            'old_vals = ["host-containers"], new_vals = [] },\n]',
        },
    ),
    ("1.22.0", {"aws-admin-container-v0-11-11": schnauzer("admin", "v0.11.0", "v0.11.11")}),
]

FIRST = {
    "live/os/variant_id": '"aws-k8s-1.15"',
    "live/os/arch": '"x86_64"',
    "live/settings/aws/region": '"us-west-2"',
    "live/settings/motd": '"Welcome to Bottlerocket"',
    "live/settings/updates/metadata-base-url": (
        '"https://updates.example/2020-02-02/aws-k8s-1.15/x86_64/"'
    ),
    "live/settings/updates/metadata-base-url.template": (
        '"https://updates.example/2020-02-02/{{ os.variant_id }}/{{ os.arch }}/"'
    ),
    "live/settings/host-containers/admin/enabled": "false",
    "live/settings/host-containers/admin/source": f'"{REGISTRY}/bottlerocket-admin:v0.5.0"',
    "live/settings/host-containers/admin/source.template": f'"{OLD_TEMPLATE}-admin:v0.5.0"',
    "live/settings/host-containers/admin/source.setting-generator": (
        '"schnauzer settings.host-containers.admin.source"'
    ),
    "live/settings/host-containers/control/source": '"registry.example/mine:latest"',
    "live/settings/host-containers/control/source.template": f'"{OLD_TEMPLATE}-control:v0.4.0"',
    "live/settings/kubernetes/node-taints/dedicated": '"experimental:PreferNoSchedule"',
    "live/settings/kubernetes/node-labels/example%2Ecom%2Frole": '"worker"',
    "live/settings/kubernetes/image-gc-high-threshold-percent": '"85"',
    "live/settings/oci-hooks/log4j-hotpatch-enabled": "true",
    "live/settings/network.affected-services": '["containerd","kubernetes"]',
    "live/services/host-containers/configuration-files": '["host-containers"]',
    "pending/default/settings/kubernetes/node-taints/special": '"true:NoSchedule"',
}
ADMIN = "live/settings/host-containers/admin/source"
CONTROL = "live/settings/host-containers/control/source"
URL = "live/settings/updates/metadata-base-url"
TAINT = "live/settings/kubernetes/node-taints/dedicated"
PENDING = "pending/default/settings/kubernetes/node-taints/special"
HOTPATCH = "live/settings/oci-hooks/log4j-hotpatch-enabled"
NETWORK = "live/settings/network.affected-services"
FILES = "live/services/host-containers/configuration-files"
MIRROR = "live/settings/container-registry/mirrors"

NEW_URL = '"https://updates.example/2020-07-07/aws-k8s-1.15/x86_64/"'
# What the releases say a host with those settings has at that version; None: nothing.
EXPECTED: dict[str, dict[str, str | None]] = {
    "0.4.1": {URL: NEW_URL, ADMIN: f'"{REGISTRY}/bottlerocket-admin:v0.5.0"'},
    "0.5.0": {
        URL: NEW_URL,
        ADMIN: f'"{REGISTRY}/bottlerocket-admin:v0.5.2"',
        f"{ADMIN}.template": f'"{OLD_TEMPLATE}-admin:v0.5.2"',
        CONTROL: '"registry.example/mine:latest"',
        f"{CONTROL}.template": f'"{OLD_TEMPLATE}-control:v0.4.1"',
    },
    "1.0.0": {
        ADMIN: f'"{REGISTRY}/bottlerocket-admin:v0.5.2"',
        f"{ADMIN}.template": '"{{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.5.2"',
        CONTROL: '"registry.example/mine:latest"',
    },
    "1.1.0": {
        ADMIN: f'"{REGISTRY}/bottlerocket-admin:v0.7.0"',
        NETWORK: '["containerd","host-containerd"]',
        TAINT: '"experimental:PreferNoSchedule"',
    },
    "1.6.0": {
        TAINT: '["experimental:PreferNoSchedule"]',
        PENDING: '["true:NoSchedule"]',
    },
    "1.16.0": {
        ADMIN: f'"{REGISTRY}/bottlerocket-admin:v0.7.0"',
        f"{ADMIN}.template": None,
        HOTPATCH: "true",
        FILES: '["host-containers"]',
    },
    "1.19.0": {ADMIN: f'"{REGISTRY}/bottlerocket-admin:v0.11.0"', HOTPATCH: "true"},
    "1.20.0": {HOTPATCH: None, FILES: "[]"},
    "1.22.0": {
        ADMIN: f'"{REGISTRY}/bottlerocket-admin:v0.11.11"',
        CONTROL: '"registry.example/mine:latest"',
        URL: NEW_URL,
        TAINT: '["experimental:PreferNoSchedule"]',
        PENDING: '["true:NoSchedule"]',
        HOTPATCH: None,
        FILES: "[]",
        "live/settings/motd": '"Welcome to Bottlerocket"',
    },
}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.install("0.3.1", FIRST)
    steps: dict[tuple[str, str], list[str]] = {}
    migrations: dict[str, str | bytes] = {}
    for (before, _), (version, documents) in itertools.pairwise(HISTORY):
        names = []
        for name, document in documents.items():
            target = f"migrate_v{version}_{name}"
            if document is MIRRORS:
                migrations[f"{target}.lz4"] = pack.pack_source("mirrors.py", document.encode())
                names.append(f"{target}.lz4")
            else:
                migrations[f"{target}.toml.lz4"] = document
                names.append(f"{target}.toml.lz4")
        steps[before, version] = names
    host.publish(steps, migrations)
    return host


def go(host: Host, version: str) -> None:
    migrate(host.setting(kernel=HASTY), Version.parse(version))


def check(host: Host, version: str) -> None:
    found = host.files()
    for name, expected in EXPECTED.get(version, {}).items():
        assert found.get(name) == expected, f"{name} at {version}"


def test_release_by_release_up_and_down(host: Host) -> None:
    versions = [version for version, _ in HISTORY]
    for version in versions[1:]:
        go(host, version)
        check(host, version)
    for version in reversed(versions[:-1]):
        go(host, version)
        check(host, version)
    assert host.files() == FIRST


@pytest.mark.parametrize("version", EXPECTED)
def test_at_one_go_there_and_back(host: Host, version: str) -> None:
    go(host, version)
    check(host, version)
    go(host, "0.3.1")
    assert host.files() == FIRST


def test_to_the_last_and_back_to_each(host: Host) -> None:
    go(host, "1.22.0")
    for version in reversed(EXPECTED):
        if version != "1.22.0":
            go(host, version)
            check(host, version)
    go(host, "0.3.1")
    assert host.files() == FIRST


def write(host: Host, files: dict[str, str | None]) -> None:
    """As the host's own programs write the settings that a user makes."""
    for name, content in files.items():
        path = host.current / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


def test_what_users_set_on_the_way_follows_as_far_as_versions_know_it(host: Host) -> None:
    go(host, "1.3.0")
    write(
        host,
        {
            "live/settings/kernel/sysctl/vm%2Eswappiness": '"10"',
            "live/settings/network/hostname": '"me"',
            f"{MIRROR}/docker%2Eio": '["https://mirror.example"]',
            "live/settings/host-containers/admin/user-data": '"e30="',
            "live/settings/motd": '"mine"',
        },
    )
    go(host, "1.4.0")
    assert host.files()[MIRROR] == (
        '[{"registry":"docker.io","endpoint":["https://mirror.example"]}]'
    )
    go(host, "1.22.0")
    write(
        host,
        {
            "live/settings/kubernetes/image-gc-high-threshold-percent": "90",
            TAINT: '["a:NoSchedule","b:NoExecute"]',
            HOTPATCH: "false",
            FILES: '["mine"]',
            "live/settings/kubernetes/node-labels/example%2Ecom%2Frole": None,
        },
    )
    go(host, "1.3.0")
    found = host.files()
    assert found[f"{MIRROR}/docker%2Eio"] == '["https://mirror.example"]'
    assert found["live/settings/kubernetes/image-gc-high-threshold-percent"] == '"90"'
    assert found[TAINT] == '"a:NoSchedule"'
    assert found[HOTPATCH] == "false"
    assert found[FILES] == '["mine"]'
    assert found["live/settings/network/hostname"] == '"me"'
    go(host, "0.3.1")
    assert host.files() == {
        **{name: text for name, text in FIRST.items() if "node-labels" not in name},
        "live/settings/kubernetes/image-gc-high-threshold-percent": '"90"',
        TAINT: '"a:NoSchedule"',
        HOTPATCH: "false",
        FILES: '["mine"]',
        "live/settings/motd": '"mine"',
    }
