"""A search reads neither layout nor claims: documents that differ in these alone share one."""

from collections.abc import Iterator
from functools import cache

import pytest

from shardwright.audit import subject
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Plan
from shardwright.search.search import NoLayoutError, search


@cache
def _searched(document: str, exact_gpus: int | None) -> Plan | NoLayoutError:
    try:
        return search(Deployment.model_validate_json(document), exact_gpus=exact_gpus)
    except NoLayoutError as error:
        return error


def _shared(deployment: Deployment, *, exact_gpus: int | None = None) -> Plan:
    bare = deployment.model_copy(update={"layout": None, "claims": None})
    found = _searched(bare.model_dump_json(), exact_gpus)
    if isinstance(found, NoLayoutError):
        raise found
    return found


@pytest.fixture(autouse=True, scope="session")
def shared_search() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "search", _shared)
        yield
