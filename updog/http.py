"""HTTP and HTTPS: one request, its redirects, its proxy, and what can go wrong with them.

This module alone meets the HTTP library and its exceptions. It knows nothing of retries, ranges or
lengths (`updog.http_source`) and nothing of TUF. Rules it holds:

- Redirects are followed by hand: a few, never from https to http, credentials only to the origin
  that they belong to.
- Proxies are chosen for each URL (`updog.proxies`); the library never reads the environment.
- Bodies come as they were sent (`Accept-Encoding: identity`), cookies are not kept.
- Certificates are checked against the system's own store, or the one that `SSL_CERT_FILE` or
  `SSL_CERT_DIR` names.
"""

from __future__ import annotations

import contextlib
import logging
import random
import ssl
import threading
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakSet

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, SystemTimeWarning

from updog import http_connection
from updog.addresses import redirected, same_origin
from updog.errors import AddressInvalid, DownloadFailed, Interrupted
from updog.http_connection import Call
from updog.http_words import causes, is_final, what_it_says
from updog.retries import Broken, Limits, RetryBudget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from updog.addresses import Address
    from updog.http_connection import Body
    from updog.proxies import Proxies

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of a server's own words for a status, in characters; it goes into a line for people.
_MAX_REASON = 80
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Answer:
    """A response whose body has not been received yet."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: Body
    _response: requests.Response

    def release(self) -> None:
        """Keep the connection for the next request; the body was received to its end."""
        self.body.close()
        self._response.raw.release_conn()

    def close(self) -> None:
        """Give the connection up."""
        with contextlib.suppress(OSError):
            self._response.close()


class HttpClient:
    """Connections to a repository's servers. Safe to use from several threads.

    Args:
        limits: How patient to be.
        proxies: Which proxy for which URL.
        parameters: Sent as the query of every request; changes show in the next one.
        user_agent: Name and version of this program.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        proxies: Proxies,
        parameters: Mapping[str, str],
        user_agent: str = "updog",
    ) -> None:
        # The library logs URLs with their queries, which may hold a token.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        # What a wrong clock means is said in `updog.clock`; this would be a line of the library's.
        urllib3.disable_warnings(SystemTimeWarning)
        self.limits = limits
        self._proxies = proxies
        self._parameters = parameters
        self._stopped = threading.Event()
        self._calls: WeakSet[Call] = WeakSet()
        self._lock = threading.Lock()
        self._session = _Session()
        self._session.trust_env = False
        self._session.verify = _certificates()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update({"User-Agent": user_agent, "Accept-Encoding": "identity"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())

    def call(self) -> Call:
        """Return a handle on the requests for one file."""
        # Twice as long as silence may last, so that silence is reported as what it is.
        call = Call(2 * self.limits.stall_timeout_seconds)
        with self._lock:
            self._calls.add(call)
        if self._stopped.is_set():
            call.abort()
        return call

    def get(self, address: Address, path: str, headers: Mapping[str, str], call: Call) -> Answer:
        """Send one request and return the answer to it or to the last of its redirects.

        Args:
            address: The base; what is below it is asked for with its credentials.
            path: Relative and percent-encoded.
            headers: Besides the usual ones.
            call: Cuts the request off.

        Raises:
            Broken: Another attempt may succeed.
            DownloadFailed: It would not.
        """
        first = url = address.url(path, self._parameters)
        for _ in range(self.limits.max_redirects + 1):
            credentials = address.credentials if same_origin(first, url) else None
            answer = self._send(url, headers, credentials, call, address.shown(path))
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            answer.close()
            try:
                url = redirected(url, location)
            except AddressInvalid as error:
                raise DownloadFailed(address.shown(path), error.problem) from error
        raise DownloadFailed(
            address.shown(path), f"redirected more than {self.limits.max_redirects} times"
        )

    def budget(self) -> RetryBudget:
        """Return the retries of one download."""
        return RetryBudget(self.limits, random.random)

    def wait(self, call: Call, budget: RetryBudget, broken: Broken, shown: str) -> None:
        """Wait for the next attempt's turn.

        Raises:
            DownloadFailed: The budget is used up, or the server wants us to stay away.
            Interrupted: The call was aborted.
        """
        if call.stopped.is_set():
            raise Interrupted(f"downloading {shown}") from broken
        seconds = budget.wait_seconds(broken)
        if seconds is None:
            raise DownloadFailed(shown, _last_word(budget, broken)) from broken
        _LOG.info(
            "%s: %s; retry %d of %d in %.1f s",
            shown, broken, budget.failures, self.limits.max_retries, seconds,
        )  # fmt: skip
        if call.stopped.wait(seconds):
            raise Interrupted(f"downloading {shown}")

    def close(self) -> None:
        """Cut off every request and every wait, now and from now on. From any thread."""
        self._stopped.set()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.abort()
        self._session.close()

    def _send(
        self,
        url: str,
        headers: Mapping[str, str],
        credentials: tuple[str, str] | None,
        call: Call,
        shown: str,
    ) -> Answer:
        if call.stopped.is_set():
            raise Broken("stopped")
        proxy = self._proxies.for_url(url)
        try:
            with call.active():
                response = self._session.get(
                    url,
                    headers=dict(headers),
                    auth=credentials,
                    stream=True,
                    allow_redirects=False,
                    timeout=(
                        self.limits.connect_timeout_seconds,
                        self.limits.stall_timeout_seconds,
                    ),
                    proxies={"http": proxy, "https": proxy} if proxy else {},
                )
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            self._cut_off(call)
            self._explain(error, shown)
        if call.body is None:
            raise DownloadFailed(shown, "the connection is not one of ours")
        answer = Answer(
            response.status_code,
            (response.reason or "")[:_MAX_REASON],
            response.headers,
            call.body,
            response,
        )
        try:
            # Headers that were cut off look whole to the library.
            self._cut_off(call)
        except Broken:
            answer.close()
            raise
        return answer

    def _cut_off(self, call: Call) -> None:
        """Say so if it was us who ended the connection."""
        if call.stopped.is_set():
            raise Broken("stopped")
        if call.out_of_time:
            raise Broken(f"only part of an answer in twice {self._stall}")

    @property
    def _stall(self) -> str:
        return f"{self.limits.stall_timeout_seconds:g} s"

    def _explain(self, error: Exception, shown: str) -> NoReturn:
        """Turn the library's exception into one of ours, without the URL that it may name."""
        via = "the proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
        if isinstance(error, requests.ConnectTimeout):
            seconds = self.limits.connect_timeout_seconds
            raise Broken(f"{via}no connection within {seconds:g} s") from error
        if isinstance(error, requests.ReadTimeout):
            raise Broken(f"{via}no answer within {self._stall}") from error
        for cause in causes(error):
            said = what_it_says(cause)
            if said is not None and is_final(cause):
                raise DownloadFailed(shown, f"{via}{said}") from error
            if said is not None:
                raise Broken(f"{via}{said}") from error
        if isinstance(error, requests.ConnectionError):
            raise Broken(f"{via}the connection broke") from error
        # Not `from error`: its text may repeat the URL, and with -v it would be printed.
        raise DownloadFailed(shown, f"{via}cannot ask for it: {type(error).__name__}") from None


class _Session(requests.Session):
    """Looks at no redirect: it would follow them in its own way, or fail at what is no address."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """There is none."""
        del resp


class _Adapter(HTTPAdapter):
    """Connections of ours below the library's sessions."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().init_poolmanager(*args, **options)
        http_connection.watch(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        manager = super().proxy_manager_for(*args, **options)
        http_connection.watch(manager)
        return manager


def _certificates() -> bool | str:
    """Return the system's certificate store; True, the library's own, where there is none."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    # Without the package that fills it, the directory is there and empty.
    if paths.capath and any(Path(paths.capath).iterdir()):
        return paths.capath
    return True


def _last_word(budget: RetryBudget, broken: Broken) -> str:
    asked = broken.retry_after_seconds
    if asked is not None and asked > budget.limits.longest_retry_after_seconds:
        return f"{broken}; it asks us to come back in {asked:.0f} s"
    attempts = f"{budget.failures} attempts" if budget.failures > 1 else "1 attempt"
    return f"{broken}; gave up after {attempts} without progress"
