"""One file over HTTP: received piece by piece, and gone on with where a connection broke.

What of an answer is believed is decided in `updog.http_answers`, how patient to be in
`updog.retries`. Here the two are put to work: a body that ends early is continued, one that goes on
is refused at the first byte too many.

An answer that cannot be right is final when nothing was received yet, and one more failure after
that: a bad gateway in the middle of a download is waited out, a wrong address is reported at once.
A server that answers wrongly to the range with which a later run goes on is asked for all of it.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from typing import TYPE_CHECKING

from updog.errors import CannotResume, DownloadFailed, NotFound
from updog.http_answers import Unsuitable, UnsuitablePart, Wanted, judge
from updog.retries import Broken, RateGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from updog.addresses import Address
    from updog.http import Answer, HttpClient
    from updog.http_answers import Accepted

# Less than a new connection costs.
_SHORT_BODY_BYTES = 64 * 1024


class HttpSource:
    """One file's bytes, retried and resumed; see `updog.transport.Source`.

    Args:
        client: Sends the requests.
        address: The base.
        path: Below it, percent-encoded.
        length_bytes: Exact; None if the server is to tell.
        max_bytes: The most that an unknown length may be.
        start_bytes: How much is already here.
        validator: Of the part that is already here.
        unless: Ask only for a file that this validator does not name (see `not_modified`).

    Attributes:
        validator: See `updog.transport.Source`.
        revalidator: What to give as `unless` next time; a weak ETag will do.
        not_modified: There is no new file, and nothing to read.

    Raises:
        CannotResume, NotFound, DownloadFailed: As `updog.transport.Transport.open_target`.
    """

    def __init__(
        self,
        client: HttpClient,
        address: Address,
        path: str,
        *,
        length_bytes: int | None = None,
        max_bytes: int = 0,
        start_bytes: int = 0,
        validator: str | None = None,
        unless: str | None = None,
    ) -> None:
        self.validator = validator
        self.revalidator: str | None = None
        self.not_modified = False
        self.shown = address.shown(path)
        self._client = client
        self._limits = client.limits
        self._address = address
        self._path = path
        self._digest_is_known = length_bytes is not None
        self._length_bytes = length_bytes
        self._max_bytes = max_bytes if length_bytes is None else length_bytes
        self._unless = unless
        self._start_bytes = self._position = start_bytes
        self._skip_bytes = 0
        self._budget = client.budget()
        self._rate = RateGuard(client.limits)
        self._call = client.call()
        self._answer: Answer | None = None
        # Held while a thread works on the answer; `close` leaves the tidying up to that thread.
        self._busy = threading.Lock()
        while self._answer is None and not self.not_modified and start_bytes != length_bytes:
            with self._one_attempt():
                self._answer = self._request()

    def readinto(self, buffer: memoryview) -> int:
        """See `updog.transport.Source.readinto`."""
        try:
            with self._busy:
                return self._next(buffer)
        finally:
            if self._call.stopped.is_set():
                self._tidy_up()

    def close(self) -> None:
        """See `updog.transport.Source.close`."""
        self._call.abort()
        self._tidy_up()

    def _tidy_up(self) -> None:
        if self._busy.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._busy.release()

    def _next(self, buffer: memoryview) -> int:
        while self._position != self._length_bytes and not self.not_modified:
            with self._one_attempt():
                if self._answer is None:
                    self._answer = self._request()
                elif self._skip_bytes:
                    self._skip_bytes -= self._receive(self._answer, buffer[: self._skip_bytes])
                elif received := self._receive(self._answer, buffer):
                    self._position += received
                    self._budget.progressed(received)
                    return received
                else:
                    self._length_bytes = self._position
        self._finish()
        return 0

    @contextlib.contextmanager
    def _one_attempt(self) -> Iterator[None]:
        """Run a block; if it breaks off, let go of the connection and wait for the next turn."""
        try:
            yield
        except Broken as broken:
            self._drop()
            self._client.wait(self._call, self._budget, broken, self.shown)

    def _give_back(self, answer: Answer) -> None:
        """Read past a short body that says nothing to us, so that the connection can be used on."""
        length = answer.body.length
        if length is not None and length <= _SHORT_BODY_BYTES:
            waste = memoryview(bytearray(_SHORT_BODY_BYTES))
            with contextlib.suppress(Broken), self._connection_errors(), self._call.deadline():
                while answer.body.receive(waste):
                    pass
        if answer.body.length == 0:
            self._release(answer)
        else:
            answer.close()

    def _release(self, answer: Answer) -> None:
        """Leave a connection to whoever needs one next; the answer was received to its end."""
        self._call.detach()
        answer.release()

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        self._skip_bytes = 0
        if answer is not None:
            answer.close()

    def _request(self) -> Answer | None:
        """Ask for what is missing and look at the answer's headers; None if nothing is new."""
        headers = {}
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
            if self.validator is not None:
                headers["If-Range"] = self.validator
        elif self._unless is not None:
            by_tag = self._unless.startswith(('"', "W/"))
            headers["If-None-Match" if by_tag else "If-Modified-Since"] = self._unless
        answer = self._client.get(self._address, self._path, headers, self._call)
        try:
            accepted = self._judge(answer)
        except NotFound:
            # The usual end of the chain of roots; the next request need not connect anew.
            self._give_back(answer)
            raise
        except (Broken, DownloadFailed):
            answer.close()
            raise
        if accepted.not_modified:
            self.not_modified = True
            self._release(answer)
            return None
        self._length_bytes = accepted.length_bytes
        self._skip_bytes = accepted.skip_bytes
        self.validator = accepted.validator
        self.revalidator = accepted.revalidator or self.revalidator
        return answer

    def _judge(self, answer: Answer) -> Accepted:
        wanted = Wanted(
            shown=self.shown,
            position_bytes=self._position,
            length_bytes=self._length_bytes,
            max_bytes=self._max_bytes,
            validator=self.validator,
            unless=self._unless,
            digest_is_known=self._digest_is_known,
        )
        try:
            return judge(answer.status, answer.reason, answer.headers, answer.body.length, wanted)
        except Unsuitable as error:
            if self._position > self._start_bytes:
                raise Broken(str(error)) from error
            if isinstance(error, UnsuitablePart):
                # Another run would be told the same, and never get past it.
                raise CannotResume(self.shown, str(error)) from error
            raise DownloadFailed(self.shown, str(error)) from error

    def _receive(self, answer: Answer, buffer: memoryview) -> int:
        """Receive once; 0 only where a file of unknown length ends.

        Raises:
            Broken: The connection ended or stalled, or is too slow to go on with.
            DownloadFailed: There is more than there may be.
        """
        room = max(self._max_bytes - self._position, 0)
        began = time.monotonic()
        with self._connection_errors():
            received = answer.body.receive(buffer[:room] if room else memoryview(bytearray(1)))
        if received and not room:
            raise DownloadFailed(self.shown, self._too_long())
        if self._rate.too_slow(received, time.monotonic() - began):
            raise Broken(f"slower than {self._limits.min_bytes_per_second} bytes per second")
        ended_early = answer.body.length or self._length_bytes is not None or self._skip_bytes
        if received == 0 and ended_early:
            at = f"{self._position} of {self._length_bytes} bytes"
            raise Broken(f"the connection ended after {at}")
        return received

    def _finish(self) -> None:
        """Make sure that the file ends here, and leave the connection in order."""
        answer = self._answer
        if answer is None:
            return
        surplus = 0
        whole = answer.body.length == 0
        if not whole:
            # Chunked, or until the connection closes: only one byte more would tell.
            with contextlib.suppress(Broken), self._connection_errors(), self._call.deadline():
                surplus = answer.body.receive(memoryview(bytearray(1)))
                whole = surplus == 0 and answer.body.chunked
        if whole:
            self._answer = None
            self._release(answer)
        self._drop()
        if surplus:
            raise DownloadFailed(self.shown, self._too_long())

    @contextlib.contextmanager
    def _connection_errors(self) -> Iterator[None]:
        """Turn what a broken connection raises into `Broken`."""
        try:
            yield
        except TimeoutError as error:
            seconds = self._limits.stall_timeout_seconds
            raise Broken(f"nothing received for {seconds:g} s") from error
        except http.client.HTTPException as error:
            raise Broken(f"the connection ended after {self._position} bytes") from error
        except OSError as error:
            raise Broken(error.strerror or "the connection broke") from error

    def _too_long(self) -> str:
        return f"longer than {self._max_bytes} bytes"
