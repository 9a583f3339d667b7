"""A real distribution's whole history, from its first public release to a late one and back.

The releases and migrations are Bottlerocket's (`tests.migrator.bottlerocket`): 81 releases with 247
migrations. The values that a host has at a version are written out here, from what the releases'
defaults and notes say, not computed.
"""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest
from semver import Version

from migrator import pack
from migrator.run import migrate
from tests.migrator.bottlerocket import HISTORY, Code, document, script
from tests.migrator.builders import HASTY, Host

if TYPE_CHECKING:
    from pathlib import Path

FIRST, LAST = "0.3.1", "1.25.0"
ECR = "328549459982.dkr.ecr.us-west-2.amazonaws.com/bottlerocket"
PUBLIC = "public.ecr.aws/bottlerocket/bottlerocket"
OLD_TEMPLATE = "328549459982.dkr.ecr.{{ settings.aws.region }}.amazonaws.com/bottlerocket"
RENDER = "schnauzer-v2 render --requires 'aws@v1(helpers=[ecr-prefix])' --template"

ADMIN = "live/settings/host-containers/admin/source"
CONTROL = "live/settings/host-containers/control/source"
URL = "live/settings/updates/metadata-base-url"
UPDATES = "live/settings/updates.affected-services"
TAINT = "live/settings/kubernetes/node-taints/dedicated"
PENDING = "pending/default/settings/kubernetes/node-taints/special"
DNS = "live/settings/kubernetes/cluster-dns-ip"
PAUSE = "live/settings/kubernetes/pod-infra-container-image"
NTP = "live/settings/ntp.affected-services"
FILES = "live/services/kubernetes/configuration-files"
RESTART = "live/services/kubernetes/restart-commands"
HOST_FILES = "live/services/host-containers/configuration-files"
CONTAINERD = "live/configuration-files/containerd-config-toml/template-path"
ROLE = "live/settings/kubernetes/node-labels/example%2Ecom%2Frole"

# A host of the first release, in us-west-2; the user has set taints, labels and a message.
START = {
    "live/os/variant_id": '"aws-k8s-1.15"',
    "live/os/arch": '"x86_64"',
    "live/settings/aws/region": '"us-west-2"',
    "live/settings/motd": '"Welcome to Bottlerocket"',
    URL: '"https://updates.bottlerocket.aws/2020-02-02/aws-k8s-1.15/x86_64/"',
    f"{URL}.template": (
        '"https://updates.bottlerocket.aws/2020-02-02/{{ os.variant_id }}/{{ os.arch }}/"'
    ),
    f"{URL}.setting-generator": '"schnauzer settings.updates.metadata-base-url"',
    UPDATES: '["updog"]',
    "live/settings/host-containers/admin/enabled": "false",
    ADMIN: f'"{ECR}-admin:v0.4.0"',
    f"{ADMIN}.template": f'"{OLD_TEMPLATE}-admin:v0.4.0"',
    f"{ADMIN}.setting-generator": '"schnauzer settings.host-containers.admin.source"',
    CONTROL: f'"{ECR}-control:v0.4.0"',
    f"{CONTROL}.template": f'"{OLD_TEMPLATE}-control:v0.4.0"',
    f"{CONTROL}.setting-generator": '"schnauzer settings.host-containers.control.source"',
    "live/settings/ntp/time-servers": '["169.254.169.123"]',
    NTP: '["chronyd"]',
    TAINT: '"experimental:PreferNoSchedule"',
    ROLE: '"worker"',
    DNS: '"10.100.0.10"',
    f"{DNS}.setting-generator": '"pluto cluster-dns-ip"',
    PAUSE: '"602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/pause-amd64:3.1"',
    f"{PAUSE}.setting-generator": '"pluto pod-infra-container-image"',
    f"{PAUSE}.affected-services": '["kubernetes","containerd"]',
    FILES: '["kubelet-env","kubelet-config","kubelet-kubeconfig","kubernetes-ca-crt"]',
    RESTART: "[]",
    HOST_FILES: "[]",
    CONTAINERD: '"/usr/share/templates/containerd-config-toml_aws-k8s"',
    "live/services/containerd/configuration-files": '["containerd-config-toml"]',
    "live/services/containerd/restart-commands": "[]",
    PENDING: '"true:NoSchedule"',
}

# The admin container that a release brings.
ADMIN_AT = {
    "0.3.1": "v0.4.0",
    "0.3.2": "v0.5.0",
    "0.5.0": "v0.5.2",
    "1.0.6": "v0.6.0",
    "1.0.8": "v0.7.0",
    "1.1.2": "v0.7.1",
    "1.2.0": "v0.7.2",
    "1.4.2": "v0.7.3",
    "1.6.0": "v0.7.4",
    "1.7.0": "v0.8.0",
    "1.8.0": "v0.9.0",
    "1.10.0": "v0.9.2",
    "1.11.0": "v0.9.3",
    "1.12.0": "v0.9.4",
    "1.13.0": "v0.10.0",
    "1.14.0": "v0.10.1",
    "1.14.3": "v0.10.2",
    "1.15.0": "v0.11.0",
    "1.16.0": "v0.11.1",
    "1.17.0": "v0.11.2",
    "1.18.0": "v0.11.3",
    "1.19.1": "v0.11.4",
    "1.19.3": "v0.11.6",
    "1.19.5": "v0.11.7",
    "1.20.0": "v0.11.8",
    "1.20.5": "v0.11.9",
    "1.21.1": "v0.11.10",
    "1.22.0": "v0.11.11",
    "1.24.1": "v0.11.12",
    "1.25.0": "v0.11.13",
}

# What else a host has at a version that it had not before; None: nothing any more.
EXPECTED: dict[str, dict[str, str | None]] = {
    "0.3.1": dict(START),
    "0.3.2": {f"{ADMIN}.template": f'"{OLD_TEMPLATE}-admin:v0.5.0"'},
    "0.4.1": {
        URL: '"https://updates.bottlerocket.aws/2020-07-07/aws-k8s-1.15/x86_64/"',
        f"{URL}.template": (
            '"https://updates.bottlerocket.aws/2020-07-07/{{ os.variant_id }}/{{ os.arch }}/"'
        ),
    },
    "0.5.0": {
        f"{ADMIN}.template": f'"{OLD_TEMPLATE}-admin:v0.5.2"',
        # And here it stays: the next migration for it names something else.
        CONTROL: f'"{ECR}-control:v0.4.1"',
        f"{CONTROL}.template": f'"{OLD_TEMPLATE}-control:v0.4.1"',
    },
    "1.0.0": {
        f"{ADMIN}.template": '"{{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.5.2"'
    },
    "1.0.5": {
        FILES: (
            '["kubelet-env","kubelet-config","kubelet-kubeconfig","kubernetes-ca-crt","proxy-env"]'
        ),
        RESTART: '["/bin/systemctl try-restart kubelet.service"]',
        "live/services/containerd/configuration-files": '["containerd-config-toml","proxy-env"]',
        "live/services/containerd/restart-commands": (
            '["/bin/systemctl try-restart containerd.service"]'
        ),
    },
    "1.0.6": {
        f"{ADMIN}.template": '"{{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.6.0"',
        FILES: (
            '["kubelet-env","kubelet-config","kubelet-kubeconfig","kubelet-bootstrap-kubeconfig",'
            '"kubelet-exec-start-conf","kubernetes-ca-crt","proxy-env"]'
        ),
        # As it stays: the next one expects another path of systemctl.
        RESTART: (
            '["/usr/bin/systemctl daemon-reload","/bin/systemctl try-restart kubelet.service"]'
        ),
    },
    "1.0.8": {
        f"{ADMIN}.template": '"{{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.7.0"'
    },
    "1.1.0": {
        CONTAINERD: '"/usr/share/templates/containerd-config-toml_k8s"',
        f"{PAUSE}.setting-generator": ('"schnauzer settings.kubernetes.pod-infra-container-image"'),
        f"{PAUSE}.template": (
            '"{{ pause-prefix settings.aws.region }}/eks/pause-{{ goarch os.arch }}:3.1"'
        ),
    },
    "1.2.0": {HOST_FILES: '["host-ctr-toml"]'},
    "1.4.0": {},
    "1.6.0": {
        f"{ADMIN}.template": '"{{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.7.4"',
        TAINT: '["experimental:PreferNoSchedule"]',
        PENDING: '["true:NoSchedule"]',
    },
    "1.9.0": {NTP: '["ntp"]'},
    "1.11.0": {
        FILES: (
            '["kubelet-env","kubelet-config","kubelet-kubeconfig","kubelet-bootstrap-kubeconfig",'
            '"kubelet-exec-start-conf","kubernetes-ca-crt","proxy-env","kubelet-server-crt",'
            '"kubelet-server-key","credential-provider-config-yaml"]'
        ),
    },
    "1.14.0": {},
    "1.16.0": {
        f"{ADMIN}.template": '"{{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.11.1"',
        f"{ADMIN}.setting-generator": (
            f"\"{RENDER} '{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-admin:v0.11.1'\""
        ),
        f"{CONTROL}.setting-generator": (
            f"\"{RENDER} '{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-control:v0.7.5'\""
        ),
        f"{URL}.setting-generator": (
            "\"schnauzer-v2 render --requires 'aws@v1' --requires "
            "'updates@v1(helpers=[metadata-prefix, tuf-prefix])' --template "
            "'{{ tuf-prefix settings.aws.region }}{{ metadata-prefix settings.aws.region }}"
            "/2020-07-07/{{ os.variant_id }}/{{ os.arch }}/'\""
        ),
        f"{PAUSE}.setting-generator": (
            "\"schnauzer-v2 render --requires 'aws@v1' --requires "
            "'kubernetes@v1(helpers=[pause-prefix])' --template "
            "'{{ pause-prefix settings.aws.region }}/eks/pause:3.1-eksbuild.1'\""
        ),
    },
    "1.20.0": {
        HOST_FILES: '["host-ctr-toml","host-containers-toml"]',
        UPDATES: '["updog","thar-be-updates"]',
        f"{ADMIN}.setting-generator": (
            f"\"{RENDER} '{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-admin:v0.11.8'\""
        ),
        f"{CONTROL}.setting-generator": (
            f"\"{RENDER} '{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-control:v0.7.12'\""
        ),
    },
    "1.21.0": {
        f"{PAUSE}.setting-generator": None,
        f"{PAUSE}.affected-services": '["pod-infra-container-image"]',
        f"{DNS}.setting-generator": None,
    },
    "1.25.0": {
        f"{ADMIN}.template": '"{{ ecr-prefix settings.aws.region }}/bottlerocket-admin:v0.11.1"',
        f"{ADMIN}.setting-generator": (
            f"\"{RENDER} '{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-admin:v0.11.13'\""
        ),
        f"{CONTROL}.setting-generator": (
            f"\"{RENDER} '{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-control:v0.7.17'\""
        ),
    },
}
# At these, all is known; at the others, all but templates and generators of containers.
WHOLE = ("0.3.1", "0.4.1", "0.5.0", "1.0.0", "1.0.6", "1.1.0", "1.6.0", "1.16.0", "1.20.0", LAST)


def new_host(directory: Path, *, programs: bool) -> Host:
    """A host of the first release that has the whole history in its cache."""
    host = Host(directory)
    host.install(FIRST, START)
    steps: dict[tuple[str, str], list[str]] = {}
    migrations: dict[str, str | bytes] = {}
    for (before, _), (version, changes) in itertools.pairwise(HISTORY.items()):
        names = steps.setdefault((before, version), [])
        for name, each in changes.items():
            target = f"migrate_v{version}_{name}"
            match each:
                case [Code(source)]:
                    target = f"{target}.lz4"
                    migrations[target] = pack.pack_source(f"{name}.py", source.encode())
                case _ if programs:
                    target = f"{target}.lz4"
                    migrations[target] = script(each)
                case _:
                    target = f"{target}.toml.lz4"
                    migrations[target] = document(each)
            names.append(target)
    host.publish(steps, migrations)
    assert len(migrations) == 247
    return host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return new_host(tmp_path, programs=False)


def go(host: Host, version: str) -> None:
    migrate(host.setting(kernel=HASTY), Version.parse(version))


def expected(version: str) -> dict[str, str]:
    """All that was announced up to a version."""
    found: dict[str, str | None] = {}
    for release in HISTORY:
        found |= EXPECTED.get(release, {})
        if release in ADMIN_AT:
            found[ADMIN] = f'"{ECR}-admin:{ADMIN_AT[release]}"'
        if release == version:
            break
    return {name: text for name, text in found.items() if text is not None}


def check(host: Host, version: str) -> None:
    known, found = expected(version), host.files()
    if version not in WHOLE:
        for place in (ADMIN, CONTROL):
            for name in ("template", "setting-generator"):
                known.pop(f"{place}.{name}", None)
                found.pop(f"{place}.{name}", None)
    assert found == known, version


def test_release_by_release_up_and_down(host: Host) -> None:
    for version in HISTORY:
        go(host, version)
        check(host, version)
    for version in reversed(HISTORY):
        go(host, version)
        check(host, version)
    assert host.files() == START


@pytest.mark.parametrize("version", EXPECTED)
def test_at_one_go_there_and_back(host: Host, version: str) -> None:
    go(host, version)
    check(host, version)
    go(host, FIRST)
    assert host.files() == START


def test_to_the_last_and_back_to_each(host: Host) -> None:
    go(host, LAST)
    for version in reversed(EXPECTED):
        go(host, version)
        check(host, version)
    assert host.files() == START


@pytest.mark.skipif(not shutil.which("sh"), reason="needs a shell")
def test_the_same_as_programs(tmp_path: Path) -> None:
    host = new_host(tmp_path, programs=True)
    for version in ("1.6.0", LAST, "1.16.0", "0.5.0", FIRST):
        go(host, version)
        check(host, version)
    assert host.files() == START


def write(host: Host, files: dict[str, str | None]) -> None:
    """As the host's own programs write the settings that a user makes, and defaults."""
    for name, content in files.items():
        path = host.current / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)


NETWORK = "live/settings/network.affected-services"
MIRRORS = "live/settings/container-registry/mirrors"
GC_HIGH = "live/settings/kubernetes/image-gc-high-threshold-percent"
OPEN_FILES = "live/settings/oci-defaults/resource-limits/max-open-files/hard-limit"
MODULE = "live/settings/kernel/modules/udf"


@pytest.mark.parametrize("programs", [False, True], ids=["data", "programs"])
def test_what_users_set_on_the_way_follows_as_far_as_versions_know_it(
    tmp_path: Path, *, programs: bool
) -> None:
    host = new_host(tmp_path, programs=programs)
    go(host, "1.1.2")
    write(
        host,
        {
            # A default of 1.0.5.
            NETWORK: '["containerd","kubernetes","host-containerd","host-containers"]',
            # They take the containers that everybody may have.
            ADMIN: f'"{PUBLIC}-admin:v0.7.1"',
            CONTROL: f'"{PUBLIC}-control:v0.5.0"',
            "live/settings/host-containers/admin/user-data": '"e30="',
            "live/settings/kernel/sysctl/vm%2Eswappiness": '"10"',
        },
    )
    go(host, "1.3.0")
    write(host, {f"{MIRRORS}/docker%2Eio": '["https://mirror.example"]'})
    go(host, "1.4.0")
    assert host.files()[MIRRORS] == (
        '[{"registry":"docker.io","endpoint":["https://mirror.example"]}]'
    )
    go(host, "1.5.3")
    assert host.files()[ADMIN] == f'"{PUBLIC}-admin:v0.7.3"'
    assert host.files()[CONTROL] == f'"{PUBLIC}-control:v0.5.4"'
    go(host, "1.12.0")
    write(host, {GC_HIGH: '"85"', OPEN_FILES: "65536"})
    go(host, LAST)
    found = host.files()
    assert found[ADMIN] == f'"{PUBLIC}-admin:v0.11.13"'
    assert found[CONTROL] == f'"{PUBLIC}-control:v0.7.17"'
    assert found[NETWORK] == (
        '["containerd","kubernetes","host-containerd","host-containers","updog"]'
    )
    assert found[GC_HIGH] == '"85"'
    write(
        host,
        {
            GC_HIGH: "90",
            OPEN_FILES: "-1",
            TAINT: '["a:NoSchedule","b:NoExecute"]',
            DNS: '["10.0.0.2","10.0.0.3"]',
            f"{MODULE}/allowed": "true",
            f"{MODULE}/autoload": "true",
            "live/settings/bootstrap-commands/x/essential": "true",
            ROLE: None,
        },
    )

    go(host, "1.15.1")
    found = host.files()
    assert found[f"{MODULE}/allowed"] == "true"
    assert f"{MODULE}/autoload" not in found
    assert "live/settings/bootstrap-commands/x/essential" not in found
    assert found[ADMIN] == f'"{PUBLIC}-admin:v0.11.0"'
    go(host, "1.12.0")
    found = host.files()
    assert found[GC_HIGH] == '"90"'
    assert found[OPEN_FILES] == "4294967295"
    assert found[DNS] == '["10.0.0.2","10.0.0.3"]'
    go(host, "1.3.0")
    found = host.files()
    assert found[f"{MIRRORS}/docker%2Eio"] == '["https://mirror.example"]'
    assert found[TAINT] == '"a:NoSchedule"'
    assert found[DNS] == '"10.0.0.2"'
    assert found[ADMIN] == f'"{PUBLIC}-admin:v0.7.1"'
    assert found[CONTROL] == f'"{PUBLIC}-control:v0.5.0"'
    assert found["live/settings/host-containers/admin/user-data"] == '"e30="'
    go(host, FIRST)
    # The metadata that 1.0.5 brought is as it was then, and stays: they only remove settings.
    assert host.files() == {
        **{name: text for name, text in START.items() if name != ROLE},
        ADMIN: f'"{PUBLIC}-admin:v0.7.1"',
        CONTROL: f'"{PUBLIC}-control:v0.5.0"',
        TAINT: '"a:NoSchedule"',
        DNS: '"10.0.0.2"',
        NETWORK: '["containerd","kubernetes","host-containerd"]',
    }
