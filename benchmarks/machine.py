"""The machine and the tools, as a report has to name them."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from pathlib import Path


def description(directory: Path) -> list[str]:
    """Lines for the report; no paths and no host names."""
    cpu = Path("/proc/cpuinfo").read_text()
    memory = Path("/proc/meminfo").read_text().split()[1]
    model = _field(cpu, "model name")
    flags = _field(cpu, "flags").split()
    sha = "with" if "sha_ni" in flags or "sha2" in flags else "without"
    filesystem = _output("stat", "-f", "-c", "%T", str(directory))
    gib = int(memory) >> 20
    tools = (
        ("lz4", _output("lz4", "--version").partition(" v")[2].partition(",")[0]),
        ("curl", _output("curl", "--version").split()[1]),
        ("veritysetup", _output("veritysetup", "--version").split()[1]),
    )
    versions = ", ".join(" ".join(tool) for tool in tools)
    return [
        f"{len(os.sched_getaffinity(0))} x {model}, {sha} SHA instructions, {gib} GiB of memory",
        f"Linux {platform.release()}, {filesystem}",
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {versions}",
    ]


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        if line.partition(":")[0].strip() == name:
            return line.partition(":")[2].strip()
    return "unknown"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
