"""A server by its URL: GET requests limited in time and size, that follow no redirect and use no proxy."""

import contextlib
import http.client
import json
import math
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from shardwright.errors import EnvironmentLacksError, InputError

MOST_BYTES = 8_000_000
"""Of one answer. A metrics page of vLLM with 16 ranks has 0.4 MB."""

CHUNK = 65536
OK = 200


@dataclass(frozen=True)
class Answer:
    """status of HTTP; body at most MOST_BYTES."""

    status: int
    body: bytes


class Site:
    """One server. `unread` lists what it did not offer, in sentences.

    limit_s: of each request, from connecting to the last byte. Raises InputError where the URL is none.
    """

    def __init__(self, url: str, *, limit_s: float = 10.0) -> None:
        self.url, self.limit_s = url.rstrip("/"), limit_s
        self.unread: list[str] = []
        self._parts = _split(url)

    def text(self, path: str, *, why_not: str = "") -> str | None:
        """The page as text; None, and a line in `unread`, where the server does not offer it."""
        answer = self._get(path)
        if answer.status != OK:
            self.unread.append(f"{path}: HTTP {answer.status}{f', {why_not}' if why_not else ''}")
            return None
        try:
            return answer.body.decode("utf-8")
        except UnicodeDecodeError:
            raise self.wrong(path, "text in UTF-8") from None

    def document(self, path: str, *, why_not: str = "") -> object:
        """The page as JSON; None, and a line in `unread`, where the server does not offer it."""
        text = self.text(path, why_not=why_not)
        if text is None:
            return None
        try:
            return json.loads(text, parse_constant=_no_number, parse_float=_finite)
        except (ValueError, RecursionError):
            raise self.wrong(path, "JSON") from None

    def wrong(self, path: str, allowed: str) -> InputError:
        """The complaint that the server answers, but not with what an engine answers there."""
        return InputError("url", f"{self.url}{path}", f"a server that answers there with {allowed}")

    def _get(self, path: str) -> Answer:
        """The whole answer. Raises EnvironmentLacksError where none comes in time, InputError where it is no
        HTTP or too large."""
        connection = self._connection()
        late = threading.Event()
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that none can be
            raise self._lack(_reason(error)) from None
        watch = threading.Timer(self.limit_s, _hang_up, (connection.sock, late))
        watch.daemon = True
        watch.start()
        try:
            headers = {"Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
            connection.request("GET", self._parts.path.rstrip("/") + path, headers=headers)
            response = connection.getresponse()
            body = self._body(path, response)
        except (http.client.HTTPException, OSError, ValueError) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise self._late() from None
            if isinstance(error, OSError) and not isinstance(error, http.client.HTTPException):
                raise self._lack(_reason(error)) from None
            raise self.wrong(path, "HTTP") from None
        finally:
            watch.cancel()
            connection.close()
        if late.is_set():
            raise self._late()
        return Answer(response.status, body)

    def _body(self, path: str, response: http.client.HTTPResponse) -> bytes:
        parts, size = [], 0
        while part := response.read(CHUNK):
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                raise self.wrong(path, f"at most {MOST_BYTES:,} bytes")
        return b"".join(parts)

    def _late(self) -> EnvironmentLacksError:
        return self._lack(f"no whole answer within {self.limit_s:g} s")

    def _lack(self, reason: str) -> EnvironmentLacksError:
        return EnvironmentLacksError(f"no server answers at {self.url}: {reason}")

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self.limit_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=self.limit_s)


def _split(url: str) -> SplitResult:
    allowed = "http://HOST:PORT or https://HOST:PORT of a server, without a name, password or query"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError("url", url, allowed) from None
    whole = url.isascii() and url.isprintable() and " " not in url
    extra = parts.username or parts.password or parts.query or parts.fragment
    if not whole or parts.scheme not in ("http", "https") or not parts.hostname or extra or port == 0:
        raise InputError("url", url, allowed)
    return parts


def _hang_up(sock: socket.socket, late: threading.Event) -> None:
    """End the answer: a socket's own timeout starts anew with every byte that comes."""
    late.set()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
