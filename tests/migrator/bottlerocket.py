"""Bottlerocket's migrations from 0.3.1 to 1.25.0, transcribed for its variant aws-k8s.

Releases, names and order are those of its Release.toml; what each migration does is from its
source (bottlerocket-os/bottlerocket, sources/api/migration/migrations and
sources/settings-migrations, with their `archived` directories). One, `corndog-config-file`, is
written after its siblings: its source could not be had. Oddities are kept, such as one that names
a setting which cannot be there (`ecr-helper-control`).

Each migration is a list of what Bottlerocket's helpers are given. `document` makes of it a
migration that is data; `script` makes a shell script that does the same by itself, with the tools
of any host: so each of the two is the other's control. What neither can say is Python.
"""

from __future__ import annotations

import json
import shlex
from typing import NamedTuple, Protocol, TypeAlias

ACCOUNT = "328549459982.dkr.ecr"
PUBLIC = "public.ecr.aws/bottlerocket/bottlerocket"
# Their helper knows every region; these hosts are in one.
ECR_PREFIX = {"us-west-2": f"{ACCOUNT}.us-west-2.amazonaws.com"}
HELPERS = f"""
[helpers.ecr-prefix]
values = {{ us-west-2 = "{ECR_PREFIX["us-west-2"]}" }}
"""


class Sayable(Protocol):
    """What data and a shell script can say."""

    def step(self) -> str:
        """As a step of a document, spelt as Bottlerocket's helpers spell it."""

    def command(self) -> str:
        """As a command of `SCRIPT`, in the directory of one tree."""


class Add(NamedTuple):
    """AddSettingsMigration."""

    settings: list[str]

    def step(self) -> str:
        return table("AddSettingsMigration", settings=self.settings)

    def command(self) -> str:
        return remove("backward", *self.settings)


class Prefixes(NamedTuple):
    """AddPrefixesMigration."""

    prefixes: list[str]

    def step(self) -> str:
        return table("AddPrefixesMigration", prefixes=self.prefixes)

    def command(self) -> str:
        patterns = [shlex.quote(f"./{file(prefix)}*") for prefix in self.prefixes]
        found = " -o ".join(f"-path {pattern}" for pattern in patterns)
        return f"if backward; then find . -type f ! -name '*.*' '(' {found} ')' -delete; fi"


class Suffix(NamedTuple):
    """Their own removal of one member of every element of a map."""

    prefix: str
    suffix: str

    def step(self) -> str:
        return table("add-prefix-suffix", prefix=self.prefix, suffix=self.suffix)

    def command(self) -> str:
        pattern = shlex.quote(f"./{file(self.prefix)}/*/{self.suffix}")
        return f"if backward; then find . -type f -path {pattern} -delete; fi"


class String(NamedTuple):
    """ReplaceStringMigration, or a migration's own loop of the same in one direction."""

    setting: str
    old: str
    new: str
    only: str = ""

    def step(self) -> str:
        directions = {"only": self.only} if self.only else {}
        names = {"setting": self.setting, "old_val": self.old, "new_val": self.new}
        return table("ReplaceStringMigration", **names, **directions)

    def command(self) -> str:
        swapped = swap(file(self.setting), text(self.old), text(self.new))
        return f"if {self.only or ':'}; then {swapped}; fi"


class Lists(NamedTuple):
    """One of ReplaceListsMigration."""

    setting: str
    old: list[str]
    new: list[str]

    def step(self) -> str:
        names = {"old_vals": self.old, "new_vals": self.new}
        return table("ReplaceListsMigration", setting=self.setting, **names)

    def command(self) -> str:
        return swap(file(self.setting), text(self.old), text(self.new))


class Template(NamedTuple):
    """ReplaceTemplateMigration."""

    setting: str
    old: str
    new: str

    def step(self) -> str:
        names = {"old_template": self.old, "new_template": self.new}
        return table("ReplaceTemplateMigration", setting=self.setting, **names)

    def command(self) -> str:
        words = ["template", self.old, self.new, self.old, self.new]
        return f"generated {shlex.join([file(self.setting), *words])}"


class Schnauzer(NamedTuple):
    """ReplaceSchnauzerMigration; the templates in the command lines."""

    setting: str
    old: str
    new: str

    def step(self) -> str:
        old, new = command_line(self.old), command_line(self.new)
        names = {"old_schnauzer_cmdline": old, "new_schnauzer_cmdline": new}
        return table("ReplaceSchnauzerMigration", setting=self.setting, **names)

    def command(self) -> str:
        words = [GENERATOR, command_line(self.old), command_line(self.new), self.old, self.new]
        return f"generated {shlex.join([file(self.setting), *words])}"


class AddMetadata(NamedTuple):
    """One of AddMetadataMigration."""

    setting: str
    metadata: list[str]

    def step(self) -> str:
        return table("AddMetadataMigration", setting=self.setting, metadata=self.metadata)

    def command(self) -> str:
        return remove("backward", self.setting, metadata=self.metadata)


class RemoveMetadata(NamedTuple):
    """One of RemoveMetadataMigration."""

    setting: str
    metadata: list[str]

    def step(self) -> str:
        return table("RemoveMetadataMigration", setting=self.setting, metadata=self.metadata)

    def command(self) -> str:
        return remove("forward", self.setting, metadata=self.metadata)


class Metadata(NamedTuple):
    """One of ReplaceMetadataMigration."""

    setting: str
    metadata: str
    old: str
    new: str

    def step(self) -> str:
        names = {"setting": self.setting, "metadata": self.metadata}
        return table("ReplaceMetadataMigration", **names, old_val=self.old, new_val=self.new)

    def command(self) -> str:
        return swap(f"{file(self.setting)}.{self.metadata}", text(self.old), text(self.new))


class MetadataLists(NamedTuple):
    """One of ReplaceMetadataListsMigration."""

    setting: str
    metadata: str
    old: list[str]
    new: list[str]

    def step(self) -> str:
        names = {"setting": self.setting, "metadata": self.metadata}
        return table("ReplaceMetadataListsMigration", **names, old_vals=self.old, new_vals=self.new)

    def command(self) -> str:
        return swap(f"{file(self.setting)}.{self.metadata}", text(self.old), text(self.new))


class Convert(NamedTuple):
    """A migration's own change of type."""

    names: str
    forward: str
    backward: str
    is_prefix: bool = False

    def step(self) -> str:
        which = {"prefixes" if self.is_prefix else "settings": [self.names]}
        return table("convert", **which, forward=self.forward, backward=self.backward)

    def command(self) -> str:
        files = f"{file(self.names)}*" if self.is_prefix else file(self.names)
        forward, backward = (
            way.replace("-", "_").replace("none", ":") for way in (self.forward, self.backward)
        )
        return (
            f'for file in {files}; do if [ -f "$file" ]; then\n'
            f'if forward; then {forward} "$file"; else {backward} "$file"; fi; fi; done'
        )


class Code(NamedTuple):
    """What only code can say: an author's Python file."""

    source: str


Change: TypeAlias = Sayable | Code


def command_line(template: str) -> str:
    """The generator's command line for a container's source."""
    return f"schnauzer-v2 render --requires 'aws@v1(helpers=[ecr-prefix])' --template '{template}'"


def ecr(container: str, version: str) -> str:
    """The template of a container's source, since 1.0.0."""
    return f"{{{{ ecr-prefix settings.aws.region }}}}/bottlerocket-{container}:v{version}"


def source(container: str) -> str:
    return f"settings.host-containers.{container}.source"


def before_helper(container: str, version: str) -> str:
    """The same before 1.0.0."""
    return (
        f"{ACCOUNT}.{{{{ settings.aws.region }}}}.amazonaws.com/bottlerocket-{container}:v{version}"
    )


def first_template(container: str, old: str, new: str) -> list[Change]:
    old, new = before_helper(container, old), before_helper(container, new)
    return [Template(source(container), old, new)]


def template(container: str, old: str, new: str) -> list[Change]:
    return [Template(source(container), ecr(container, old), ecr(container, new))]


def schnauzer(container: str, old: str, new: str) -> list[Change]:
    return [Schnauzer(source(container), ecr(container, old), ecr(container, new))]


def public(container: str, old: str, new: str) -> list[Change]:
    old, new = f"{PUBLIC}-{container}:v{old}", f"{PUBLIC}-{container}:v{new}"
    return [String(source(container), old, new)]


def containers(
    aws_admin: str, public_admin: str, aws_control: str, public_control: str, *, generated: bool
) -> dict[str, list[Change]]:
    """The four migrations of a release that brings new containers, each as `old new`."""
    found: dict[str, list[Change]] = {}
    for kind, container, versions in (
        ("aws", "admin", aws_admin),
        ("public", "admin", public_admin),
        ("aws", "control", aws_control),
        ("public", "control", public_control),
    ):
        if versions:
            old, new = versions.split()
            made = public if kind == "public" else schnauzer if generated else template
            name = f"{kind}-{container}-container-v{new.replace('.', '-')}"
            found[name] = made(container, old, new)
    return found


AFFECTED = "affected-services"
GENERATOR = "setting-generator"
PAUSE = "settings.kubernetes.pod-infra-container-image"
KUBELET_FILES = ["kubelet-env", "kubelet-config", "kubelet-kubeconfig"]
KUBELET_FILES_1_0_6 = [
    *KUBELET_FILES,
    "kubelet-bootstrap-kubeconfig",
    "kubelet-exec-start-conf",
    "kubernetes-ca-crt",
    "proxy-env",
]
TRY_RESTART = "/bin/systemctl try-restart kubelet.service"
CONTAINERD_CONFIG = "/usr/share/templates/containerd-config-toml_"
LIMITS = "settings.oci-defaults.resource-limits"
NETWORK_SERVICES = (
    ["containerd", "host-containerd"],
    ["containerd", "kubernetes", "host-containerd"],
    ["containerd", "docker", "ecs", "host-containerd"],
    ["containerd", "docker", "host-containerd"],
)

SCHNAUZER_PAWS = f"""
from migrator import Migration

OLD = "pluto pod-infra-container-image"
NEW = "schnauzer {PAUSE}"
TEMPLATE = "{{{{ pause-prefix settings.aws.region }}}}/eks/pause-{{{{ goarch os.arch }}}}:3.1"


class SchnauzerPaws(Migration):
    def forward(self, data, metadata):
        found = metadata.get("{PAUSE}", {{}})
        if found.get("setting-generator") == OLD:
            found.update({{"setting-generator": NEW, "template": TEMPLATE}})

    def backward(self, data, metadata):
        found = metadata.get("{PAUSE}", {{}})
        if found.get("setting-generator") == NEW:
            found["setting-generator"] = OLD
            found.pop("template", None)
"""
REGISTRY_MIRRORS = """
from migrator import Migration


class ChangeRegistryMirrorsType(Migration):
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
MAX_OPEN_FILES = """
from migrator import Migration

MOST = 2**32 - 1


class ChangeMaxOpenFileResourceLimitType(Migration):
    def forward(self, data, metadata):
        pass

    def backward(self, data, metadata):
        limits = data.get("settings", {}).get("oci-defaults", {}).get("resource-limits", {})
        files = limits.get("max-open-files", {})
        for name in ("hard-limit", "soft-limit"):
            if isinstance(files.get(name), int):
                files[name] = MOST if files[name] == -1 else min(files[name], MOST)
"""

HISTORY: dict[str, dict[str, list[Change]]] = {
    "0.3.1": {},
    "0.3.2": {"admin-container-v0-5-0": first_template("admin", "0.4.0", "0.5.0")},
    "0.3.3": {},
    "0.3.4": {},
    "0.4.0": {},
    "0.4.1": {
        "add-version-lock-ignore-waves": [
            Add(["settings.updates.version-lock", "settings.updates.ignore-waves"])
        ],
        "pivot-repo-2020-07-07": [
            Template(
                "settings.updates.metadata-base-url",
                "https://updates.bottlerocket.aws/2020-02-02/{{ os.variant_id }}/{{ os.arch }}/",
                "https://updates.bottlerocket.aws/2020-07-07/{{ os.variant_id }}/{{ os.arch }}/",
            )
        ],
    },
    "0.5.0": {
        "add-cluster-domain": [Add(["settings.kubernetes.cluster-domain"])],
        "admin-container-v0-5-2": first_template("admin", "0.5.0", "0.5.2"),
        "control-container-v0-4-1": first_template("control", "0.4.0", "0.4.1"),
    },
    "1.0.0": {
        "ecr-helper-admin": [
            Template(source("admin"), before_helper("admin", "0.5.2"), ecr("admin", "0.5.2"))
        ],
        # It names metadata where a setting is expected, so it never did anything.
        "ecr-helper-control": [
            Template(
                f"metadata.{source('control')}",
                before_helper("control", "0.4.1"),
                ecr("control", "0.4.1"),
            )
        ],
    },
    "1.0.1": {},
    "1.0.2": {
        "add-enable-spot-instance-draining": [Add(["settings.ecs.enable-spot-instance-draining"])]
    },
    "1.0.3": {"add-sysctl": [Prefixes(["settings.kernel.sysctl", "services.sysctl"])]},
    "1.0.4": {},
    "1.0.5": {
        "add-lockdown": [Prefixes(["settings.kernel.lockdown", "services.lockdown"])],
        "sysctl-subcommand": [
            Lists(
                "services.sysctl.restart-commands",
                ["/usr/bin/corndog"],
                ["/usr/bin/corndog sysctl"],
            )
        ],
        "add-user-data": [Suffix("settings.host-containers", "user-data")],
        "add-network-settings": [Prefixes(["settings.network", "configuration-files.proxy-env"])],
        "add-proxy-restart": [
            Lists(
                "services.containerd.configuration-files",
                ["containerd-config-toml"],
                ["containerd-config-toml", "proxy-env"],
            ),
            Lists(
                "services.containerd.restart-commands",
                [],
                ["/bin/systemctl try-restart containerd.service"],
            ),
            Lists(
                "services.kubernetes.configuration-files",
                [*KUBELET_FILES, "kubernetes-ca-crt"],
                [*KUBELET_FILES, "kubernetes-ca-crt", "proxy-env"],
            ),
            Lists("services.kubernetes.restart-commands", [], [TRY_RESTART]),
        ],
        "add-proxy-services": [Prefixes(["services.docker", "services.host-containerd"])],
    },
    "1.0.6": {
        "metricdog-init": [
            Prefixes(["settings.metrics", "services.metricdog", "configuration-files.metricdog"])
        ],
        "add-static-pods": [Prefixes(["settings.kubernetes.static-pods", "services.static-pods"])],
        "kubelet-standalone-tls-settings": [
            Prefixes(
                [
                    "settings.kubernetes.bootstrap-token",
                    "settings.kubernetes.authentication-mode",
                    "settings.kubernetes.standalone-mode",
                    "configuration-files.kubelet-bootstrap-kubeconfig",
                    "configuration-files.kubelet-exec-start-conf",
                ]
            )
        ],
        "kubelet-standalone-tls-services": [
            Lists(
                "services.kubernetes.configuration-files",
                [*KUBELET_FILES, "kubernetes-ca-crt", "proxy-env"],
                KUBELET_FILES_1_0_6,
            ),
            Lists(
                "services.kubernetes.restart-commands",
                [TRY_RESTART],
                ["/usr/bin/systemctl daemon-reload", TRY_RESTART],
            ),
        ],
        "control-container-v0-4-2": template("control", "0.4.1", "0.4.2"),
        "add-shibaken": [AddMetadata("settings.host-containers.admin.user-data", [GENERATOR])],
        "admin-container-v0-6-0": template("admin", "0.5.2", "0.6.0"),
    },
    "1.0.7": {},
    "1.0.8": {
        "kubelet-eviction-hard": [Prefixes(["settings.kubernetes.eviction-hard"])],
        "kubelet-unsafe-sysctl-kube-reserved": [
            Add(
                [
                    "settings.kubernetes.allowed-unsafe-sysctls",
                    "settings.kubernetes.kube-reserved",
                ]
            )
        ],
        "proxy-affect-host-containers": [
            MetadataLists("settings.network", AFFECTED, services, [*services, "host-containers"])
            for services in NETWORK_SERVICES
        ],
        "control-container-v0-5-0": template("control", "0.4.2", "0.5.0"),
        "admin-container-v0-7-0": template("admin", "0.6.0", "0.7.0"),
        "add-bootstrap-containers": [
            Prefixes(["settings.bootstrap-containers", "services.bootstrap-containers"])
        ],
    },
    "1.1.0": {
        "kubelet-server-tls-bootstrap": [Add(["settings.kubernetes.server-tls-bootstrap"])],
        "kubelet-cloud-provider": [Add(["settings.kubernetes.cloud-provider"])],
        "kubelet-registry-qps-registry-burst": [
            Add(["settings.kubernetes.registry-qps", "settings.kubernetes.registry-burst"])
        ],
        # Of several old values for one new one, their way back takes the first.
        "shared-containerd-configs": [
            String(
                "configuration-files.containerd-config-toml.template-path",
                f"{CONTAINERD_CONFIG}{old}",
                f"{CONTAINERD_CONFIG}{new}",
                only,
            )
            for old, new, only in (
                ("aws-dev", "basic", ""),
                ("aws-ecs-1", "basic", "forward"),
                ("aws-k8s", "k8s", ""),
                ("vmware-dev", "basic", "forward"),
            )
        ],
        "kubelet-event-qps-event-burst": [
            Add(["settings.kubernetes.event-qps", "settings.kubernetes.event-burst"])
        ],
        "schnauzer-paws": [Code(SCHNAUZER_PAWS)],
        "kubelet-kube-api-qps-kube-api-burst": [
            Add(["settings.kubernetes.kube-api-qps", "settings.kubernetes.kube-api-burst"])
        ],
    },
    "1.1.1": {},
    "1.1.2": {
        "kubelet-container-log": [
            Add(
                [
                    "settings.kubernetes.container-log-max-size",
                    "settings.kubernetes.container-log-max-files",
                ]
            )
        ],
        "kubelet-system-reserved": [Prefixes(["settings.kubernetes.system-reserved"])],
        "admin-container-v0-7-1": template("admin", "0.7.0", "0.7.1"),
        "control-container-v0-5-1": template("control", "0.5.0", "0.5.1"),
    },
    "1.1.3": {
        # On the way back it removes a state file of the kubelet's, which is no setting.
        "kubelet-cpu-manager-state": [],
        "kubelet-cpu-manager": [
            Add(
                [
                    "settings.kubernetes.cpu-manager-policy",
                    "settings.kubernetes.cpu-manager-reconcile-period",
                ]
            )
        ],
    },
    "1.1.4": {},
    "1.2.0": {
        "hostname-setting": [
            Prefixes(
                [
                    "settings.network.hostname",
                    "services.hostname",
                    "configuration-files.hostname",
                ]
            )
        ],
        "hostname-setting-metadata": [
            AddMetadata("settings.network.hostname", [GENERATOR, AFFECTED])
        ],
        "add-custom-certificates": [Prefixes(["settings.pki", "services.pki"])],
        "kubelet-topology-manager": [
            Add(
                [
                    "settings.kubernetes.topology-manager-scope",
                    "settings.kubernetes.topology-manager-policy",
                ]
            )
        ],
        "container-registry-mirrors": [
            Prefixes(
                [
                    "settings.container-registry",
                    "configuration-files.docker-daemon-config",
                    "configuration-files.host-ctr-toml",
                ]
            )
        ],
        "container-registry-config-restarts": [
            Lists(
                "services.docker.configuration-files",
                ["proxy-env"],
                ["docker-daemon-config", "proxy-env"],
            ),
            Lists("services.bootstrap-containers.configuration-files", [], ["host-ctr-toml"]),
            Lists("services.host-containers.configuration-files", [], ["host-ctr-toml"]),
        ],
        "admin-container-v0-7-2": template("admin", "0.7.1", "0.7.2"),
    },
    "1.2.1": {},
    "1.3.0": {
        "etc-hosts-service": [Prefixes(["services.hosts", "configuration-files.hosts"])],
        "hostname-affects-etc-hosts": [
            MetadataLists(
                "settings.network.hostname", AFFECTED, ["hostname"], ["hostname", "hosts"]
            )
        ],
        "control-container-v0-5-2": template("control", "0.5.1", "0.5.2"),
    },
    "1.4.0": {"registry-mirror-representation": [Code(REGISTRY_MIRRORS)]},
    "1.4.1": {},
    "1.4.2": {
        "admin-container-v0-7-3": template("admin", "0.7.2", "0.7.3"),
        "control-container-v0-5-3": template("control", "0.5.2", "0.5.3"),
    },
    "1.5.0": {
        "oci-hooks-setting": [
            Prefixes(["settings.oci-hooks", "services.oci-hooks", "configuration-files.oci-hooks"])
        ],
        "oci-hooks-setting-metadata": [AddMetadata("settings.oci-hooks", [AFFECTED])],
    },
    "1.5.1": {"control-container-v0-5-4": template("control", "0.5.3", "0.5.4")},
    "1.5.2": {},
    "1.5.3": {
        "vmware-host-containers": [
            *(
                String(
                    source("admin"), f"{PUBLIC}-admin:v{old}", f"{PUBLIC}-admin:v0.7.3", "forward"
                )
                for old in ("0.7.0", "0.7.1", "0.7.2")
            ),
            *(
                String(
                    source("control"),
                    f"{PUBLIC}-control:v{old}",
                    f"{PUBLIC}-control:v0.5.4",
                    "forward",
                )
                for old in ("0.5.0", "0.5.1", "0.5.2", "0.5.3")
            ),
        ]
    },
    "1.6.0": {
        "node-taints-representation": [
            Convert("settings.kubernetes.node-taints.", "to-list", "first", is_prefix=True)
        ],
        **containers("0.7.3 0.7.4", "0.7.3 0.7.4", "0.5.4 0.5.5", "0.5.4 0.5.5", generated=False),
    },
    "1.6.1": {},
    "1.6.2": {
        "add-cfsignal": [
            Prefixes(
                [
                    "settings.cloudformation",
                    "services.cfsignal",
                    "configuration-files.cfsignal-toml",
                ]
            )
        ],
        "container-registry-credentials": [Prefixes(["settings.container-registry.credentials"])],
        "container-registry-credentials-metadata": [
            AddMetadata("settings.container-registry.credentials", [AFFECTED]),
            AddMetadata("settings.container-registry.mirrors", [AFFECTED]),
        ],
    },
    "1.7.0": containers(
        "0.7.4 0.8.0", "0.7.4 0.8.0", "0.5.5 0.6.0", "0.5.5 0.6.0", generated=False
    ),
    "1.7.1": {},
    "1.7.2": {},
    "1.8.0": {
        "boot-setting": [Prefixes(["settings.boot", "services.bootconfig"])],
        "boot-setting-metadata": [AddMetadata("settings.boot", [AFFECTED])],
        "kubelet-pod-pids-limit": [Prefixes(["settings.kubernetes.pod-pids-limit"])],
        "add-pull-behavior": [Add(["settings.ecs.image-pull-behavior"])],
        "add-autoscaling": [Prefixes(["settings.autoscaling"])],
        "etc-hosts": [Prefixes(["settings.network.hosts"])],
        "etc-hosts-metadata": [AddMetadata("settings.network.hosts", [AFFECTED])],
        "cluster-dns-ip-list": [Convert("settings.kubernetes.cluster-dns-ip", "none", "first")],
        "pki-affected-services": [
            MetadataLists("settings.pki", AFFECTED, ["pki"], ["pki", "containerd"])
        ],
        "kubelet-provider-id": [Add(["settings.kubernetes.provider-id"])],
        **containers("0.8.0 0.9.0", "0.8.0 0.9.0", "0.6.0 0.6.1", "0.6.0 0.6.1", generated=False),
    },
    "1.9.0": {
        "ntp-affected-services": [MetadataLists("settings.ntp", AFFECTED, ["chronyd"], ["ntp"])],
        "shibaken-admin-userdata-semantics": [
            Metadata(
                "settings.host-containers.admin.user-data",
                GENERATOR,
                "shibaken",
                "shibaken generate-admin-userdata",
            )
        ],
        "shibaken-send-metrics": [AddMetadata("settings.metrics.send-metrics", [GENERATOR])],
        "image-gc-thresholds": [
            Add(
                [
                    "settings.kubernetes.image-gc-high-threshold-percent",
                    "settings.kubernetes.image-gc-low-threshold-percent",
                ]
            )
        ],
        "kernel-modules-setting": [
            Prefixes(
                [
                    "settings.kernel.modules",
                    "services.kernel-modules",
                    "configuration-files.modprobe-conf",
                ]
            )
        ],
        "kernel-modules-setting-metadata": [AddMetadata("settings.kernel.modules", [AFFECTED])],
        "kubelet-no-daemon-reload": [
            Lists(
                "services.kubernetes.restart-commands",
                [
                    "/usr/bin/systemctl daemon-reload",
                    "/usr/bin/systemctl try-restart kubelet.service",
                ],
                ["/usr/bin/systemctl try-restart kubelet.service"],
            )
        ],
        "updates-targets-base-url": [AddMetadata("settings.updates.targets-base-url", [GENERATOR])],
    },
    "1.9.1": {},
    "1.9.2": {},
    "1.10.0": {
        "dns-settings": [
            Prefixes(["settings.dns", "services.dns", "configuration-files.netdog-toml"])
        ],
        "dns-settings-metadata": [AddMetadata("settings.dns", [AFFECTED])],
        "reboot-to-reconcile-setting": [Add(["settings.boot.reboot-to-reconcile"])],
        "kubelet-log-level": [Add(["settings.kubernetes.log-level"])],
        **containers("0.9.0 0.9.2", "0.9.0 0.9.2", "0.6.1 0.6.3", "0.6.1 0.6.3", generated=False),
    },
    "1.10.1": {
        "container-runtime": [Prefixes(["settings.container-runtime"])],
        "container-runtime-metadata": [AddMetadata("settings.container-runtime", [AFFECTED])],
    },
    "1.11.0": {
        "aws-config-settings": [
            Prefixes(
                [
                    "services.aws",
                    "configuration-files.aws-config",
                    "configuration-files.aws-credentials",
                ]
            )
        ],
        "aws-creds": [
            Add(["settings.aws.config", "settings.aws.credentials", "settings.aws.profile"])
        ],
        "aws-creds-metadata": [AddMetadata("settings.aws", [AFFECTED])],
        "credential-providers": [
            Prefixes(
                [
                    "settings.kubernetes.credential-providers",
                    "configuration-files.credential-provider-config-yaml",
                ]
            )
        ],
        "kubelet-tls-config": [
            Add(["settings.kubernetes.server-certificate", "settings.kubernetes.server-key"])
        ],
        "kubelet-tls-files": [
            Prefixes(
                [
                    "configuration-files.kubelet-server-crt",
                    "configuration-files.kubelet-server-key",
                ]
            )
        ],
        "kubelet-new-config-files": [
            Lists(
                "services.kubernetes.configuration-files",
                KUBELET_FILES_1_0_6,
                [
                    *KUBELET_FILES_1_0_6,
                    "kubelet-server-crt",
                    "kubelet-server-key",
                    "credential-provider-config-yaml",
                ],
            )
        ],
        "ecs-additional-configurations": [
            Add(
                [
                    "settings.ecs.container-stop-timeout",
                    "settings.ecs.task-cleanup-wait",
                    "settings.ecs.metadata-service-rps",
                    "settings.ecs.metadata-service-burst",
                    "settings.ecs.reserved-memory",
                ]
            )
        ],
        **containers("0.9.2 0.9.3", "0.9.2 0.9.3", "0.6.3 0.6.4", "0.6.3 0.6.4", generated=False),
    },
    "1.11.1": {},
    "1.12.0": {
        "k8s-private-pki-path": [
            String(
                "configuration-files.kubelet-server-key.path",
                "/etc/kubernetes/pki/kubelet-server.key",
                "/etc/kubernetes/pki/private/kubelet-server.key",
            )
        ],
        "add-k8s-autoscaling-warm-pool-setting": [
            Prefixes(
                [
                    "settings.autoscaling",
                    "services.autoscaling-warm-pool",
                    "configuration-files.warm-pool-wait-toml",
                ]
            )
        ],
        "add-k8s-autoscaling-warm-pool-setting-metadata": [
            AddMetadata("settings.autoscaling", [AFFECTED])
        ],
        "oci-defaults-setting": [
            Prefixes(
                [
                    "settings.oci-defaults",
                    "services.oci-defaults",
                    "configuration-files.oci-defaults",
                ]
            )
        ],
        "oci-defaults-setting-metadata": [AddMetadata("settings.oci-defaults", [AFFECTED])],
        **containers("0.9.3 0.9.4", "0.9.3 0.9.4", "0.6.4 0.7.0", "0.6.4 0.7.0", generated=False),
    },
    "1.13.0": {
        "k8s-registry": [
            String(PAUSE, "k8s.gcr.io/pause:3.2", "public.ecr.aws/eks-distro/kubernetes/pause:3.3")
        ],
        **containers("0.9.4 0.10.0", "0.9.4 0.10.0", "0.7.0 0.7.1", "0.7.0 0.7.1", generated=False),
    },
    "1.13.1": {"aws-profile-cred-provider": [AddMetadata("settings.aws.profile", [AFFECTED])]},
    "1.13.2": {},
    "1.13.3": {
        "aws-k8s-provider-id-gen": [AddMetadata("settings.kubernetes.provider-id", [GENERATOR])]
    },
    "1.13.4": {
        "add-hostname-override": [Add(["settings.kubernetes.hostname-override"])],
        "add-hostname-override-metadata": [
            AddMetadata("settings.kubernetes.hostname-override", [GENERATOR])
        ],
    },
    "1.13.5": {},
    "1.14.0": {
        "kubernetes-gc-percent-type-change": [
            Convert(f"settings.kubernetes.image-gc-{which}-threshold-percent", "none", "to-string")
            for which in ("high", "low")
        ],
        "kubelet-config-settings": [
            Add(
                [
                    "settings.kubernetes.cpu-manager-policy-options",
                    "settings.kubernetes.cpu-cfs-quota-enforced",
                    "settings.kubernetes.shutdown-grace-period",
                    "settings.kubernetes.shutdown-grace-period-for-critical-pods",
                ]
            )
        ],
        "kubelet-prefix-config-settings": [
            Prefixes(["settings.kubernetes.memory-manager-reserved-memory"])
        ],
        "k8s-services-mode": [
            Add(
                [
                    "configuration-files.kubelet-config.mode",
                    "configuration-files.kubelet-kubeconfig.mode",
                    "configuration-files.kubelet-bootstrap-kubeconfig.mode",
                    "configuration-files.kubelet-exec-start-conf.mode",
                    "configuration-files.credential-provider-config-yaml.mode",
                ]
            )
        ],
        **containers(
            "0.10.0 0.10.1", "0.10.0 0.10.1", "0.7.1 0.7.2", "0.7.1 0.7.2", generated=False
        ),
    },
    "1.14.1": {},
    "1.14.2": {
        "ecs-images-cleanup": [
            Add(
                [
                    "settings.ecs.image-cleanup-wait",
                    "settings.ecs.image-cleanup-delete-per-cycle",
                    "settings.ecs.image-cleanup-enabled",
                    "settings.ecs.image-cleanup-age",
                ]
            )
        ]
    },
    "1.14.3": containers(
        "0.10.1 0.10.2", "0.10.1 0.10.2", "0.7.2 0.7.3", "0.7.2 0.7.3", generated=False
    ),
    "1.15.0": {
        "oci-defaults-resource-setting": [
            Prefixes(
                [
                    f"{LIMITS}.max-{what}"
                    for what in (
                        "address-space",
                        "core-file-size",
                        "cpu-time",
                        "data-size",
                        "file-locks",
                        "file-size",
                        "locked-memory",
                        "msgqueue-size",
                        "nice-priority",
                        "pending-signals",
                        "processes",
                        "realtime-priority",
                        "realtime-timeout",
                        "resident-set",
                        "stack-size",
                    )
                ]
            )
        ],
        "oci-defaults-max-open-files": [Code(MAX_OPEN_FILES)],
        "seccomp-default-setting": [Add(["settings.kubernetes.seccomp-default"])],
        # For the ECS variants.
        "oci-defaults-docker-setting": [],
        "oci-defaults-docker-setting-metadata": [],
        **containers(
            "0.10.2 0.11.0", "0.10.2 0.11.0", "0.7.3 0.7.4", "0.7.3 0.7.4", generated=False
        ),
        "log4j-hotpatch-enabled-metadata": [
            AddMetadata("settings.oci-hooks.log4j-hotpatch-enabled", [AFFECTED])
        ],
        "deprecate-log4j-hotpatch-enabled": [
            Prefixes(
                [
                    "services.log4j-hotpatch-enabled",
                    "configuration-files.log4j-hotpatch-enabled-log-message",
                ]
            )
        ],
    },
    "1.15.1": {},
    "1.16.0": {
        "kernel-modules-autoload-configs": [Prefixes(["configuration-files.modules-load"])],
        "kernel-modules-autoload-files": [
            Lists(
                "services.kernel-modules.configuration-files",
                ["modprobe-conf"],
                ["modprobe-conf", "modules-load"],
            )
        ],
        "kernel-modules-autoload-restart": [
            Lists(
                "services.kernel-modules.restart-commands",
                [],
                ["/usr/bin/systemctl try-restart systemd-modules-load"],
            )
        ],
        "kernel-modules-autoload-settings": [Suffix("settings.kernel.modules", "autoload")],
        **containers(
            "0.11.0 0.11.1", "0.11.0 0.11.1", "0.7.4 0.7.5", "0.7.4 0.7.5", generated=False
        ),
        "schnauzer-v2-generators": [
            Metadata(setting, GENERATOR, f"schnauzer {setting}", new)
            for setting, new in (
                (source("admin"), command_line(ecr("admin", "0.11.1"))),
                (source("control"), command_line(ecr("control", "0.7.5"))),
                (
                    "settings.updates.metadata-base-url",
                    (
                        "schnauzer-v2 render --requires 'aws@v1' --requires "
                        "'updates@v1(helpers=[metadata-prefix, tuf-prefix])' --template "
                        "'{{ tuf-prefix settings.aws.region }}"
                        "{{ metadata-prefix settings.aws.region }}"
                        "/2020-07-07/{{ os.variant_id }}/{{ os.arch }}/'"
                    ),
                ),
                (
                    "settings.updates.targets-base-url",
                    (
                        "schnauzer-v2 render --requires 'aws@v1' --requires "
                        "'updates@v1(helpers=[tuf-prefix])' --template "
                        "'{{ tuf-prefix settings.aws.region }}/targets/'"
                    ),
                ),
                (
                    PAUSE,
                    (
                        "schnauzer-v2 render --requires 'aws@v1' --requires "
                        "'kubernetes@v1(helpers=[pause-prefix])' --template "
                        "'{{ pause-prefix settings.aws.region }}/eks/pause:3.1-eksbuild.1'"
                    ),
                ),
            )
        ],
    },
    "1.16.1": {
        "updog-network-affected": [
            MetadataLists(
                "settings.network",
                AFFECTED,
                [*services, "host-containers"],
                [*services, "host-containers", "updog"],
            )
            for services in NETWORK_SERVICES
        ]
    },
    "1.17.0": containers(
        "0.11.1 0.11.2", "0.11.1 0.11.2", "0.7.5 0.7.6", "0.7.5 0.7.6", generated=True
    ),
    "1.18.0": containers(
        "0.11.2 0.11.3", "0.11.2 0.11.3", "0.7.6 0.7.7", "0.7.6 0.7.7", generated=True
    ),
    "1.19.0": {
        "add-additional-ecs-settings": [
            Add(["settings.ecs.backend-host", "settings.ecs.awsvpc-block-imds"])
        ]
    },
    "1.19.1": containers(
        "0.11.3 0.11.4", "0.11.3 0.11.4", "0.7.7 0.7.8", "0.7.7 0.7.8", generated=True
    ),
    "1.19.2": {
        "certdog-config-file-v0-1-0": [Prefixes(["configuration-files.certdog-toml"])],
        "certdog-service-cfg-v0-1-0": [
            Lists("services.pki.configuration-files", [], ["certdog-toml"])
        ],
        "add-ecs-enable-container-metadata": [Add(["settings.ecs.enable-container-metadata"])],
    },
    "1.19.3": containers(
        "0.11.4 0.11.6", "0.11.4 0.11.6", "0.7.8 0.7.10", "0.7.8 0.7.10", generated=True
    ),
    "1.19.4": {},
    "1.19.5": containers(
        "0.11.6 0.11.7", "0.11.6 0.11.7", "0.7.10 0.7.11", "0.7.10 0.7.11", generated=True
    ),
    "1.20.0": {
        "prairiedog-config-file-v0-1-0": [Prefixes(["configuration-files.prairiedog-toml"])],
        "prairiedog-services-cfg-v0-1-0": [
            Lists("services.bootconfig.configuration-files", [], ["prairiedog-toml"])
        ],
        "thar-be-updates-config-file-v0-1-0": [
            Prefixes(["configuration-files.thar-be-updates-toml", "services.thar-be-updates"])
        ],
        "thar-be-updates-affected-services-v0-1-0": [
            MetadataLists("settings.updates", AFFECTED, ["updog"], ["updog", "thar-be-updates"])
        ],
        "host-containers-config-file-v0-1-0": [
            Prefixes(["configuration-files.host-containers-toml"])
        ],
        "host-containers-config-list-v0-1-0": [
            Lists(
                "services.host-containers.configuration-files",
                ["host-ctr-toml"],
                ["host-ctr-toml", "host-containers-toml"],
            )
        ],
        "corndog-config-file-v0-1-0": [Prefixes(["configuration-files.corndog-toml"])],
        "corndog-services-cfg-v0-1-0": [
            Lists(f"services.{service}.configuration-files", [], ["corndog-toml"])
            for service in ("sysctl", "lockdown")
        ],
        "bootstrap-containers-config-file-v0-1-0": [
            Prefixes(["configuration-files.bootstrap-containers-toml"])
        ],
        "bootstrap-containers-services-cfg-v0-1-0": [
            Lists(
                "services.bootstrap-containers.configuration-files",
                ["host-ctr-toml"],
                ["host-ctr-toml", "bootstrap-containers-toml"],
            )
        ],
        "remove-ecs-settings-applier": [
            Lists(
                "services.ecs.restart-commands",
                [
                    "/usr/bin/ecs-settings-applier",
                    "/bin/systemctl try-reload-or-restart ecs.service",
                ],
                ["/bin/systemctl try-reload-or-restart ecs.service"],
            )
        ],
        "update-ecs-config-path": [
            String(
                "configuration-files.ecs-config.path",
                "/etc/ecs/ecs.config",
                "/etc/systemd/system/ecs.service.d/10-base.conf",
            )
        ],
        "update-ecs-config-template-path": [
            String(
                "configuration-files.ecs-config.template-path",
                "/usr/share/templates/ecs.config",
                "/usr/share/templates/ecs-base-conf",
            )
        ],
        "add-ntp-default-options-v0-1-0": [Add(["settings.ntp.options"])],
        "static-pods-add-prefix-v0-1-0": [Prefixes(["configuration-files.static-pods-toml"])],
        "static-pods-services-cfg-v0-1-0": [
            Lists("services.static-pods.configuration-files", [], ["static-pods-toml"])
        ],
        # For the NVIDIA variants.
        "container-runtime-nvidia": [],
        "container-runtime-metadata-nvidia": [],
        **containers(
            "0.11.7 0.11.8", "0.11.7 0.11.8", "0.7.11 0.7.12", "0.7.11 0.7.12", generated=True
        ),
    },
    "1.20.1": {},
    "1.20.2": {},
    "1.20.3": {},
    "1.20.4": {},
    "1.20.5": containers(
        "0.11.8 0.11.9", "0.11.8 0.11.9", "0.7.12 0.7.13", "0.7.12 0.7.13", generated=True
    ),
    "1.21.0": {
        "pluto-remove-generators-v0-1-0": [
            RemoveMetadata(f"settings.kubernetes.{name}", [GENERATOR])
            for name in (
                "max-pods",
                "cluster-dns-ip",
                "node-ip",
                "provider-id",
                "hostname-override",
            )
        ],
        "pod-infra-container-image-remove-settings-generator": [RemoveMetadata(PAUSE, [GENERATOR])],
        "pod-infra-container-image-affected-services": [
            MetadataLists(
                PAUSE, AFFECTED, ["kubernetes", "containerd"], ["pod-infra-container-image"]
            )
        ],
        "pod-infra-container-image-services": [
            Prefixes(
                [
                    "services.pod-infra-container-image",
                    "configuration-files.pod-infra-container-image-log-message",
                ]
            )
        ],
        "k8s-reserved-cpus-v0-1-0": [Add(["settings.kubernetes.reserved-cpus"])],
        "add-hostname-override-source": [Add(["settings.kubernetes.hostname-override-source"])],
    },
    "1.21.1": containers(
        "0.11.9 0.11.10", "0.11.9 0.11.10", "0.7.13 0.7.14", "0.7.13 0.7.14", generated=True
    ),
    "1.22.0": {
        **containers(
            "0.11.10 0.11.11", "0.11.10 0.11.11", "0.7.14 0.7.15", "0.7.14 0.7.15", generated=True
        ),
        "bootstrap-commands-settings": [
            Prefixes(
                [
                    "settings.bootstrap-commands",
                    "services.bootstrap-commands",
                    "configuration-files.bootstrap-commands-toml",
                ]
            )
        ],
        "bootstrap-commands-metadata": [AddMetadata("settings.bootstrap-commands", [AFFECTED])],
    },
    "1.23.0": {
        "kubelet-device-plugins-metadata": [
            AddMetadata("settings.kubelet-device-plugins", [AFFECTED])
        ],
        "kubelet-device-plugins-settings": [
            Prefixes(
                [
                    "settings.kubelet-device-plugins",
                    "services.nvidia-k8s-device-plugin",
                    "configuration-files.nvidia-k8s-device-plugin-conf",
                    "configuration-files.nvidia-k8s-device-plugin-exec-start-conf",
                ]
            )
        ],
        "nvidia-container-runtime-metadata": [
            AddMetadata("settings.nvidia-container-runtime", [AFFECTED])
        ],
        "nvidia-container-runtime-settings": [
            Prefixes(
                [
                    "settings.nvidia-container-runtime",
                    "services.nvidia-container-toolkit",
                    "configuration-files.nvidia-container-toolkit",
                ]
            )
        ],
    },
    "1.24.0": {},
    "1.24.1": containers(
        "0.11.11 0.11.12", "0.11.11 0.11.12", "0.7.15 0.7.16", "0.7.15 0.7.16", generated=True
    ),
    "1.25.0": {
        "kubernetes-service-config": [
            String("configuration-files.kubelet-exec-start-conf.mode", "0600", "0644")
        ],
        "kubelet-device-plugins-time-slicing-settings": [
            Add(
                [
                    f"settings.kubelet-device-plugins.nvidia.{name}"
                    for name in (
                        "device-sharing-strategy",
                        "time-slicing.replicas",
                        "time-slicing.rename-by-default",
                        "time-slicing.fail-requests-greater-than-one",
                    )
                ]
            )
        ],
        **containers(
            "0.11.12 0.11.13", "0.11.12 0.11.13", "0.7.16 0.7.17", "0.7.16 0.7.17", generated=True
        ),
    },
}


SCRIPT = """#!/bin/sh
# $1 --forward|--backward, $3 source, $5 target
set -eu
forward() { [ "$way" = --forward ]; }
backward() { ! forward; }
json() { printf '"%s"' "$1"; }
render() {
    region=$(cat settings/aws/region 2>/dev/null | tr -d '"')
    variant=$(cat os/variant_id 2>/dev/null | tr -d '"')
    arch=$(cat os/arch 2>/dev/null | tr -d '"')
    [ -n "$region" ] || return 0
    printf %s "$1" | sed -e "s/{{ settings.aws.region }}/$region/" \\
        -e "s/{{ ecr-prefix settings.aws.region }}/328549459982.dkr.ecr.$region.amazonaws.com/" \\
        -e "s/{{ os.variant_id }}/$variant/" -e "s/{{ os.arch }}/$arch/"
}
replace() { if [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; then printf %s "$3" > "$1"; fi; }
swap() { if forward; then replace "$1" "$2" "$3"; else replace "$1" "$3" "$2"; fi; }
generated() { # setting, metadata, old text, new text, old template, new template
    if backward; then set -- "$1" "$2" "$4" "$3" "$6" "$5"; fi
    if [ -f "$1" ] && [ -f "$1.$2" ] && [ "$(cat "$1.$2")" = "$(json "$3")" ]; then
        json "$4" > "$1.$2"
        replace "$1" "$(json "$(render "$5")")" "$(json "$(render "$6")")"
    fi
}
first() { # ["a","b"] to "a"
    case $(cat "$1") in
        '[]') rm "$1" ;;
        '["'*) text=$(sed -e 's/^\\[\\("[^"]*"\\).*$/\\1/' "$1"); printf %s "$text" > "$1" ;;
    esac
}
to_list() { case $(cat "$1") in '"'*) text=$(cat "$1"); printf '[%s]' "$text" > "$1" ;; esac; }
to_string() { case $(cat "$1") in [0-9-]*) text=$(cat "$1"); json "$text" > "$1" ;; esac; }
change() {
:
BODY
}
way=$1
cp -R "$3/." "$5"
for tree in "$5"/live "$5"/pending/*; do
    if [ -d "$tree" ]; then cd "$tree"; change; fi
done
"""


def document(changes: list[Change]) -> str:
    """A migration as data."""
    steps = [each.step() for each in changes if not isinstance(each, Code)]
    return "\n".join([HELPERS, *steps]) if steps else '[[steps]]\nkind = "no-op"'


def script(changes: list[Change]) -> str:
    """A migration as a program, for names without dots in them."""
    commands = [each.command() for each in changes if not isinstance(each, Code)]
    return SCRIPT.replace("BODY", "\n".join(commands))


def table(kind: str, **fields: str | list[str]) -> str:
    """A step; strings and lists of strings are written in JSON as they are in TOML."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(["[[steps]]", f'kind = "{kind}"', *lines, ""])


def swap(path: str, old: str, new: str) -> str:
    return f"swap {shlex.join([path, old, new])}"


def remove(direction: str, *settings: str, metadata: list[str] | None = None) -> str:
    paths = [file(setting) for setting in settings]
    if metadata is not None:
        paths = [f"{path}.{name}" for path in paths for name in metadata]
    return f"if {direction}; then rm -f {shlex.join(paths)}; fi"


def file(setting: str) -> str:
    return setting.replace(".", "/")


def text(value: str | list[str]) -> str:
    return json.dumps(value, separators=(",", ":"))
