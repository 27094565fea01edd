"""The engine that is none, for verbs that start one."""

from tests.launch.conftest import engine_path  # noqa: F401
