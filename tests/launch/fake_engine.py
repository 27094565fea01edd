"""A stand-in for vLLM: prints a recorded log, has a worker process, answers on its port, and fails on demand.

As `vllm serve MODEL --port N` it serves; as `vllm bench serve ... --result-dir D --result-filename F` it
writes the result that its client would. What it does beside is in FAKE, words:

    crash      prints a traceback and ends with 3 before it is ready
    silent     never becomes ready
    stubborn   ignores SIGTERM, and its worker too, which is in a session of its own
    refuse     answers completions with 500
    shares     makes shared memory, and maps what FAKE_SHARED names, too
    late       crashes after it has come up
    failed     the client's result has a failed request
    lasting    the client does not end; the file that FAKE_CLIENT names has its pid, and its worker's
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAKE = os.environ.get("FAKE", "").split()
KEPT: list[mmap.mmap] = []
ANSWER = [11, 51, 78, 11, 201, 78, 88, 139]

WORKER = """
import os, signal, sys, time
if "stubborn" in sys.argv[1:]:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(f"(Worker_TP1 pid={os.getpid()}) INFO 11-28 18:10:30 [fake.py:1] up", flush=True)
time.sleep(600)
"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self._say(200, {})
        elif self.path == "/v1/models":
            self._say(200, {"data": [{"id": sys.argv[2]}]})
        else:
            self._say(404, {"error": "no such path"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "refuse" in FAKE:
            self._say(500, {"error": "EngineCore encountered an issue."})
            return
        tokens = ANSWER[: asked["max_tokens"]]
        found = {"choices": [{"text": "?", "token_ids": tokens}], "usage": {"completion_tokens": len(tokens)}}
        self._say(200, found)

    def _say(self, status: int, body: dict[str, Any]) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        pass


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def serve() -> None:
    if "stubborn" in FAKE:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if log := os.environ.get("FAKE_LOG"):
        print(Path(log).read_text(), flush=True)
    if "crash" in FAKE:
        print(
            "Traceback (most recent call last):\nValueError: no such attention backend\nshutting down",
            flush=True,
        )
        sys.exit(3)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, *FAKE])
    threading.Thread(target=watch, args=(worker,), daemon=True).start()
    if "stubborn" not in FAKE:
        signal.signal(signal.SIGTERM, lambda *_: worker.kill())
    if "shares" in FAKE:
        KEPT.extend(share())
    if "late" in FAKE:
        time.sleep(1.0)
        os._exit(4)
    if "silent" in FAKE:
        time.sleep(600)
    ThreadingHTTPServer((option("--host"), int(option("--port"))), Handler).serve_forever()


def share() -> list[mmap.mmap]:
    """Of its own, and of somebody else's."""
    own = Path(f"/dev/shm/fake_engine_{os.getpid()}")
    own.write_bytes(bytes(4096))
    mapped = []
    for path in (own, Path(os.environ["FAKE_SHARED"])):
        with path.open("r+b") as file:
            mapped.append(mmap.mmap(file.fileno(), 4096))
    return mapped


def watch(worker: "subprocess.Popen[bytes]") -> None:
    status = worker.wait()
    print(f"(EngineCore pid=1) ERROR 11-28 18:10:30 [fake.py:2] worker died: {status}", flush=True)
    os._exit(1)


def bench() -> None:
    if "lasting" in FAKE:
        worker = subprocess.Popen([sys.executable, "-c", WORKER])
        Path(os.environ["FAKE_CLIENT"]).write_text(f"{os.getpid()} {worker.pid}\n")
        time.sleep(600)
    requests, tokens = int(option("--num-prompts")), int(option("--random-output-len"))
    failed = int("failed" in FAKE)
    found: dict[str, Any] = {
        "completed": requests - failed,
        "failed": failed,
        "duration": 2.0,
        "backend": "openai",
    }
    found |= {"total_input_tokens": requests * int(option("--random-input-len"))}
    found |= {"total_output_tokens": requests * tokens, "output_throughput": requests * tokens / 2.0}
    found |= {"request_throughput": requests / 2.0}
    for number, name in enumerate(("ttft", "tpot", "itl", "e2el"), start=1):
        kinds = ("mean", "median", "p50", "p90", "p99")
        found |= {f"{kind}_{name}_ms": 10.0 * number + place for place, kind in enumerate(kinds)}
    (Path(option("--result-dir")) / option("--result-filename")).write_text(json.dumps(found))
    print("(done)")


if __name__ == "__main__":
    bench() if sys.argv[1] == "bench" else serve()
