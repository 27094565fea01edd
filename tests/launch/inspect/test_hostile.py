"""What answers may be anything: one clear message, an exit status, and never a wait without end."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from shardwright.launch.inspect.site import MOST_BYTES
from tests.cli.run import shardwright
from tests.launch.inspect.replay import Answer, answers_of, serving

MEGABYTE = b"x" * 1_000_000


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(MEGABYTE)


def slow(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: no single read ever times out."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def slow_head(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(100):
        handler.wfile.write(b"H")
        handler.wfile.flush()
        time.sleep(0.05)


def moved(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://192.0.2.1/")
    handler.end_headers()


HOSTILE: list[tuple[str, Answer, int, str]] = [
    ("metrics", b"\xff\xfe\x00", 2, "text in UTF-8"),
    ("metrics", b"<html><body>hello</body></html>", 2, "Prometheus' text format"),
    ("metrics", b'vllm:x{engine="0} 1\n', 2, "Prometheus' text format"),
    ("metrics", endless, 2, f"at most {MOST_BYTES:,} bytes"),
    ("metrics", slow, 3, "no whole answer within 0.5 s"),
    ("metrics", slow_head, 3, "no whole answer within 0.5 s"),
    ("version", b"\xff", 2, "text in UTF-8"),
    ("version", b'{"version": NaN}', 2, "JSON"),
    ("version", b'{"version": 1e999}', 2, "JSON"),
    ("version", b"[" * 200_000, 2, "JSON"),
    ("v1_models", b"not json", 2, "JSON"),
    ("server_info", b"{", 2, "JSON"),
]


@pytest.mark.parametrize(("path", "answer", "status", "message"), HOSTILE)
def test_hostile_answers(path: str, answer: Answer, status: int, message: str) -> None:
    with serving({**answers_of("vllm"), path: answer}) as url:
        started = time.monotonic()
        outcome = shardwright("inspect", url, "--timeout", "0.5")
        assert time.monotonic() - started < 4
    assert outcome.status == status and not outcome.out
    assert message in outcome.err and outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"null",
        b"[]",
        b'{"data": 3}',
        b'{"data": [1, null, {"id": 7, "owned_by": []}]}',
        b'{"data": [{"owned_by": "somebody"}]}',
    ],
)
def test_cards_of_nobody(answer: bytes) -> None:
    with serving({"v1_models": answer}) as url:
        outcome = shardwright("inspect", url)
    assert outcome.status == 2 and "cards of vLLM, SGLang, TensorRT-LLM" in outcome.err


@pytest.mark.parametrize("folder", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("value", [b"null", b"[]", b"3", b'"x"', b'{"vllm_config": {"parallel_config": 4}}'])
def test_documents_of_another_make_say_nothing(folder: str, value: bytes) -> None:
    """Everything but the cards is JSON that nobody expects: read to the end, nothing made up."""
    answers: dict[str, Answer] = dict.fromkeys(("version", "server_info"), value)
    answers["metrics"] = value if folder == "trtllm" else b""
    answers["v1_models"] = answers_of(folder)["v1_models"]
    with serving(answers) as url:
        outcome = shardwright("inspect", url, "--json")
    assert outcome.status == 0 and '"tp": null' in outcome.out


def test_redirects_are_not_followed() -> None:
    with serving({**answers_of("vllm"), "version": moved}) as url:
        outcome = shardwright("inspect", url)
    assert outcome.status == 0 and "/version: HTTP 302" in outcome.out


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that takes connections and speaks no HTTP, and one's number."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peer.sendall(b"-ERR unknown command\r\n")
            peer.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    stop.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_what_speaks_no_http(mute: int) -> None:
    outcome = shardwright("inspect", f"http://127.0.0.1:{mute}", "--timeout", "1")
    assert outcome.status in (2, 3) and outcome.err.count("\n") == 1 and "Traceback" not in outcome.err


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = shardwright("inspect", f"http://127.0.0.1:{port}")
    assert outcome.status == 3 and "no server answers" in outcome.err and "refused" in outcome.err


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1:0",
        "http://127.0.0.1:99999",
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1/#x",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nX: y",
        "http://[::1",
        "http://bücher.example",
    ],
)
def test_urls_of_no_server(url: str) -> None:
    outcome = shardwright("inspect", url)
    assert outcome.status == 2 and "http://HOST:PORT" in outcome.err


def test_what_a_server_says_cannot_draw_on_the_terminal() -> None:
    cards = b'{"data": [{"id": "\\u001b[31mred\\n| x", "owned_by": "vllm"}]}'
    with serving({"v1_models": cards}) as url:
        outcome = shardwright("inspect", url)
    assert outcome.status == 0 and "\x1b" not in outcome.out and "red | x" in outcome.out
