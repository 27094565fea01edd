"""What is shown of an engine's log: its last words, and a line while it starts."""

from pathlib import Path

from shardwright.launch.log import last_words, line_of_progress

LOGS = Path(__file__).with_name("logs")

FAILED = """\
(EngineCore pid=1128) ERROR 11-28 18:14:28 [core.py:1512] Traceback (most recent call last):
(EngineCore pid=1128) ERROR 11-28 18:14:28 [core.py:1512]   File "core.py", line 3, in run
(EngineCore pid=1128) ERROR 11-28 18:14:28 [core.py:1512] torch.OutOfMemoryError: tried to allocate 56.00 GiB
"""
WAKE = "".join(f"(APIServer pid=910) INFO 11-28 18:14:29 [a.py:{number}] closing\n" for number in range(30))
END = "(APIServer pid=910) RuntimeError: Engine core initialization failed. See root cause above.\n"


def test_the_root_cause_comes_before_its_wake() -> None:
    words = last_words(FAILED + WAKE + END).splitlines()
    assert "torch.OutOfMemoryError: tried to allocate 56.00 GiB" in words[0]
    assert not any("File" in word or "Traceback" in word for word in words)
    assert words[1].strip() == "..."
    assert words[-1].endswith("See root cause above.")
    assert len(words) == 14


def test_a_killed_worker_is_named_in_vllms_own_words() -> None:
    """As vLLM 0.32.0 logged it on 2026-11-28; its paths are shortened, its dump of the input is left out."""
    words = last_words((LOGS / "vllm-0.32-killed-worker.log").read_text()).splitlines()
    assert "Worker proc VllmWorker-1 died unexpectedly (exit code: None), shutting down executor." in words[0]
    assert words[1].endswith("RuntimeError: cancelled")
    assert words[2].strip() == "..."
    assert "MPClient: complete" in words[-1]


def test_short_logs_are_shown_whole() -> None:
    assert last_words("one\n\ntwo\n") == "  one\n  two"
    assert last_words("\n \n") == "  (it printed nothing)"


def test_a_terminal_stays_as_it_is() -> None:
    """Neither escape sequences nor what was written over by a progress bar."""
    assert last_words("\x1b[31mred\x1b[0m\x07\n10 %\r90 %\r100 % done\n" + "x" * 400) == (
        "  red \n  100 % done\n  " + "x" * 297 + "..."
    )


def test_progress_is_the_last_thing_said_without_its_stamp() -> None:
    text = (LOGS / "vllm-0.32-tp2.log").read_text()
    loading = text[: text.index("(Worker_TP0 pid=1167) INFO 11-28 18:10:31 [unquantized.py:364]")]
    assert line_of_progress(loading) == "Starting to load model tiny..."
    assert line_of_progress("") == "starting"
