"""A server on 127.0.0.1 that replays answers: those of a folder of tests/launch/served, or any others."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERVED = Path(__file__).parents[1] / "served"

Answer = bytes | Callable[[BaseHTTPRequestHandler], None]
"""The body of a 200, or what writes the whole answer."""


def answers_of(folder: str) -> dict[str, Answer]:
    """Path without its slashes at both ends -> body."""
    return {file.stem: file.read_bytes() for file in (SERVED / folder).iterdir()}


@contextlib.contextmanager
def serving(answers: Mapping[str, Answer]) -> Iterator[str]:
    """The URL of a server that answers so, and 404 elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0].strip("/").replace("/", "_"))
            if callable(answer):
                answer(self)
                return
            self.send_response(404 if answer is None else 200)
            body = b'{"detail":"Not Found"}' if answer is None else answer
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
