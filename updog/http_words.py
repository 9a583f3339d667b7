"""What went wrong with a connection, in words, without the URL that a library would repeat."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        case http.client.HTTPException():
            return "the answer is not HTTP"
        case OSError() if is_final(cause) or cause.strerror:
            return cause.strerror or str(cause)
    return None


def is_final(cause: BaseException) -> bool:
    """Tell whether trying again is pointless: a wrong certificate, a proxy that says no."""
    refused = isinstance(cause, OSError) and str(cause).startswith("Tunnel connection failed")
    return refused or isinstance(cause, ssl.SSLCertVerificationError)
