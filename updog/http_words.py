"""What went wrong with a connection, in words, without the URL that a library would repeat."""

from __future__ import annotations

import http.client
import re
import ssl
from typing import TYPE_CHECKING, Final

from urllib3.exceptions import InvalidHeader

from updog.retries import TRANSIENT_STATUS

if TYPE_CHECKING:
    from collections.abc import Iterator

_REFUSED_BY_PROXY: Final = re.compile(r"Tunnel connection failed: (\d+)")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those inside it, outermost first, however they were wrapped."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        cause = todo.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            todo += [getattr(cause, "reason", None), *cause.args, cause.__cause__]


def what_it_says(cause: BaseException) -> str | None:
    """Put a cause into words; None if it only wraps another one."""
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {cause.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {cause.reason or 'broken off'}"
        case http.client.RemoteDisconnected():
            return "closed the connection without an answer"
        case http.client.HTTPException() | InvalidHeader():
            return "the answer is not HTTP"
        case OSError() if cause.strerror or _REFUSED_BY_PROXY.match(str(cause)):
            return cause.strerror or str(cause)
    return None


def is_final(cause: BaseException) -> bool:
    """Tell whether trying again is pointless: a wrong certificate, a proxy that says no."""
    refused = _REFUSED_BY_PROXY.match(str(cause)) if isinstance(cause, OSError) else None
    if refused:
        return int(refused[1]) not in TRANSIENT_STATUS
    return isinstance(cause, ssl.SSLCertVerificationError)
