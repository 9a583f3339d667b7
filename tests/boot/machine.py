"""One boot of a virtual machine in QEMU, from power on to reset, power off or a pulled plug.

A restart ends the emulator (`-no-reboot`), so that each boot has a serial log of its own, and the
disk can be looked at in between. Commands run in the guest through a small agent on a virtio port:
a line with the command in base64 goes in; status, lengths, output and errors come out.

A running machine can be saved and started again from there any number of times: under emulation
a boot takes half a minute, and tests of what happens after it need not wait for it each time.
"""

from __future__ import annotations

import base64
import json
import queue
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.boot.volatile_disk import VolatileDisk

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

MEMORY_MIB: Final = 768
_ACCELERATOR: Final = "tcg,tb-size=256"
# Emulation knows no AVX worth having: OpenSSL's plainer code is faster there.
_CPU: Final = "max,-avx,-avx2"
# `norandmaps`: translated code is found again by its virtual address, so programs start several
# times as fast when libraries are at the same place in all of them.
_COMMAND_LINE: Final = (
    "boot=signpost console=ttyS0 gpt panic=1 oops=panic quiet loglevel=6 net.ifnames=0 "
    "mitigations=off norandmaps nokaslr init_on_alloc=0 apparmor=0 audit=0 tsc=reliable "
    "no_timer_check systemd.getty_auto=no "
    "systemd.journald.forward_to_console=1 systemd.show_status=0 systemd.log_level=notice"
)


_RUNNING: Final[set[Machine]] = set()


def kill_all() -> None:
    """End all emulators at once; for when the tests are told to stop."""
    for machine in list(_RUNNING):
        machine.pull_the_plug()


class BootTestError(Exception):
    """The test machinery cannot do what it should, or the guest did not do what it had to."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command in the guest left behind."""

    command: str
    status: int
    stdout: str
    stderr: str


class Machine:
    """A running emulator; as a context manager it is killed at the end, at the latest.

    Attributes:
        serial_log: Everything the guest printed on its serial console.
        disk: Its disk, for cutting its power.
    """

    def __init__(
        self,
        *,
        kernel: Path,
        initrd: Path,
        image: Path,
        serial_log: Path,
        command_line: str = "",
        saved: Path | None = None,
    ) -> None:
        self.serial_log = serial_log
        self.started = time.monotonic()
        # Socket paths are limited to 107 bytes: not below the work directory.
        self._sockets = Path(tempfile.mkdtemp(prefix="boot-"))
        self.disk = VolatileDisk(image, self._sockets / "disk")
        self.disk.serve()
        self._agent_listener = _listen(self._sockets / "agent")
        self._monitor_listener = _listen(self._sockets / "monitor")
        self._agent: socket.socket | None = None
        self._closed = False
        self._replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self._monitor: socket.socket | None = None
        self._monitor_ready = threading.Event()
        self._ended = threading.Event()
        self._ending = ""
        self._received = bytearray()
        self._errors = serial_log.with_suffix(".qemu")
        serial_log.parent.mkdir(parents=True, exist_ok=True)
        incoming = () if saved is None else ("-incoming", f"exec:cat {shlex.quote(str(saved))}")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [
                    *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
                    *("-accel", _ACCELERATOR, "-cpu", _CPU, "-m", str(MEMORY_MIB), "-no-reboot"),
                    *("-kernel", str(kernel), "-initrd", str(initrd)),
                    *("-append", f"{_COMMAND_LINE} {command_line}"),
                    *("-serial", f"file:{serial_log}"),
                    *("-blockdev", self._block_device()),
                    *("-device", "virtio-blk-pci,drive=disk,serial=updog-test"),
                    *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="),
                    *("-device", "virtio-rng-pci"),
                    *("-device", "virtio-serial-pci"),
                    *("-chardev", f"socket,id=agent,path={self._sockets / 'agent'}"),
                    *("-device", "virtserialport,chardev=agent,name=agent"),
                    *("-chardev", f"socket,id=monitor,path={self._sockets / 'monitor'}"),
                    *("-mon", "chardev=monitor,mode=control"),
                    *incoming,
                ],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        threading.Thread(target=self._watch_monitor, daemon=True).start()
        _RUNNING.add(self)
        if saved is not None:
            try:
                # Its agent waits for a command; it does not say again that it is ready.
                self._agent = self._accept(self._agent_listener, self.started + 60)
                self._resume()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _block_device(self) -> str:
        server = {"type": "unix", "path": str(self._sockets / "disk")}
        # No cache of QEMU's own: each guest write goes to the disk's, at once.
        cache = {"direct": True, "no-flush": False}
        return json.dumps(
            {"node-name": "disk", "driver": "nbd", "server": server, "cache": cache},
        )

    def wait_for_agent(self, timeout_seconds: float) -> None:
        """Wait until commands can be run; BootTestError if the guest ends or takes too long."""
        deadline = time.monotonic() + timeout_seconds
        if self._agent is None:
            self._agent = self._accept(self._agent_listener, deadline)
        while b"ready\n" not in self._received:
            self._receive_more(deadline)
        self._received.clear()

    def run(self, command: str, timeout_seconds: float = 300) -> Result:
        """Run a shell command in the guest and wait for its end."""
        if self._agent is None:
            raise BootTestError("the guest's agent is not connected")
        self._agent.sendall(base64.b64encode(command.encode()) + b"\n")
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._received:
            self._receive_more(deadline)
        header, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        status, out_bytes, error_bytes = (int(number) for number in header.split())
        while len(self._received) < out_bytes + error_bytes:
            self._receive_more(deadline)
        output = bytes(self._received[:out_bytes]).decode(errors="replace")
        errors = bytes(self._received[out_bytes : out_bytes + error_bytes]).decode(errors="replace")
        del self._received[: out_bytes + error_bytes]
        return Result(command, status, output, errors)

    def start(self, command: str) -> None:
        """Start a shell command in the guest that is not expected to answer: a restart follows."""
        if self._agent is None:
            raise BootTestError("the guest's agent is not connected")
        self._agent.sendall(base64.b64encode(command.encode()) + b"\n")

    def wait_for_end(self, timeout_seconds: float) -> str:
        """Wait until the emulator ends by itself.

        Returns:
            "guest-reset", "guest-shutdown" or "guest-panic", as QEMU's SHUTDOWN event has it.
        """
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise BootTestError(
                f"no restart after {timeout_seconds:.0f} s: see {self.serial_log}"
            ) from error
        self._ended.wait(5)
        return self._ending or f"QEMU ended: {self._errors.read_text().strip()}"

    def save(self, path: Path) -> None:
        """Stop the machine and keep its memory and devices; its disk is as it is now."""
        self._execute("stop")
        self._execute("migrate", uri=f"exec:cat >{shlex.quote(str(path))}")
        deadline = time.monotonic() + 120
        while (status := self._execute("query-migrate")["status"]) != "completed":
            if status == "failed" or time.monotonic() > deadline:
                raise BootTestError(f"cannot save the machine to {path}: {status}")
            time.sleep(0.1)

    def pull_the_plug(self) -> None:
        """Kill the emulator, as a loss of power would; cut the disk's power first."""
        self._process.kill()
        self._process.wait()

    @property
    def running(self) -> bool:
        """Whether the emulator still runs."""
        return self._process.poll() is None

    def serial(self) -> str:
        """The serial log so far, with lines as a terminal would show them."""
        return self.serial_log.read_text(errors="replace").replace("\r", "")

    def close(self) -> None:
        """End the emulator and everything that belongs to it; once is enough."""
        self.pull_the_plug()
        if self._closed:
            return
        self._closed = True
        _RUNNING.discard(self)
        self.disk.close()
        for listener in (self._agent_listener, self._monitor_listener):
            listener.close()
        for connection in (self._agent, self._monitor):
            if connection is not None:
                connection.close()
        shutil.rmtree(self._sockets, ignore_errors=True)
        if self._errors.exists() and not self._errors.read_bytes():
            self._errors.unlink()

    def _accept(self, listener: socket.socket, deadline: float) -> socket.socket:
        listener.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            connection, _ = listener.accept()
        except OSError as error:
            raise BootTestError(f"QEMU did not start: {self._errors.read_text()}") from error
        return connection

    def _receive_more(self, deadline: float) -> None:
        if self._agent is None:
            raise BootTestError("the guest's agent is not connected")
        left = deadline - time.monotonic()
        self._agent.settimeout(max(left, 0.01))
        try:
            chunk = self._agent.recv(65536)
        except TimeoutError as error:
            raise BootTestError(f"the guest does not answer: see {self.serial_log}") from error
        except OSError:
            chunk = b""
        if not chunk:
            raise BootTestError(f"the guest ended ({self._ending}): see {self.serial_log}")
        self._received += chunk

    def _resume(self) -> None:
        """Let a saved machine go on, once it is read."""
        deadline = time.monotonic() + 120
        while self._execute("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise BootTestError(f"the saved machine is not read: {self._errors.read_text()}")
            time.sleep(0.05)
        self._execute("cont")

    def _execute(self, command: str, **arguments: str) -> dict[str, Any]:
        """One command of QEMU's monitor protocol."""
        if not self._monitor_ready.wait(30) or self._monitor is None:
            raise BootTestError(f"QEMU did not start: {self._errors.read_text()}")
        request = json.dumps({"execute": command, "arguments": arguments})
        self._monitor.sendall(request.encode() + b"\n")
        reply = self._replies.get(timeout=60)
        if "return" not in reply:
            raise BootTestError(f"QEMU refuses {command}: {reply}")
        answer: dict[str, Any] = reply["return"]
        return answer

    def _watch_monitor(self) -> None:
        """Pass replies on, and keep the reason of QEMU's SHUTDOWN event."""
        with suppress(OSError, BootTestError):
            self._monitor = self._accept(self._monitor_listener, time.monotonic() + 30)
            self._monitor.settimeout(None)
            with self._monitor.makefile("rb") as stream:
                stream.readline()
                self._monitor.sendall(b'{"execute": "qmp_capabilities"}\n')
                stream.readline()
                self._monitor_ready.set()
                for line in stream:
                    message = json.loads(line)
                    if message.get("event") == "SHUTDOWN":
                        self._ending = str(message["data"]["reason"])
                    elif "event" not in message:
                        self._replies.put(message)
        self._monitor_ready.set()
        self._ended.set()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    return listener
