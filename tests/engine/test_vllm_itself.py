"""vLLM's own code on our layouts (make test-engines): the groups that it makes, its parser on our commands.

No process is started and no model is read: initialize_model_parallel gets a world that only has a size, and
says its groups to a recorder.
"""

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from shardwright.engine.catalog import find_engine
from shardwright.engine.engine import engine_grid
from shardwright.engine.start import Place, Start
from shardwright.layout.grid import groups
from shardwright.layout.layout import Layout
from tests.engine.engine_strategies import REFERENCE
from tests.engine.legal_layouts import legal_layouts

pytestmark = pytest.mark.engines

vllm = pytest.importorskip("vllm", reason="make test-engines installs it")
distributed = pytest.importorskip("torch.distributed")
parallel_state = pytest.importorskip("vllm.distributed.parallel_state")
ParallelConfig = pytest.importorskip("vllm.config.parallel").ParallelConfig
make_arg_parser = pytest.importorskip("vllm.entrypoints.launchers.cli_args").make_arg_parser
Parser = pytest.importorskip("vllm.utils.argparse_utils").FlexibleArgumentParser

ENGINE = find_engine("vllm@0.32")
LAYOUTS = legal_layouts(ENGINE, "folded", 16)
MADE = ("_TP", "_ETP", "_ENGRAM_DP", "_DCP", "_PCP", "_PP", "_DP", "_EP", "_EPLB")
"""The groups of parallel_state, which has none before it is initialized."""


def groups_of(layout: Layout) -> dict[str, list[list[int]]]:
    """What initialize_model_parallel makes in a world of the layout's GPUs; copies are its ExternalDP."""
    made: dict[str, list[list[int]]] = {}

    def record(group_ranks: list[list[int]], *_: Any, group_name: str, **__: Any) -> Any:
        made[group_name] = group_ranks
        return SimpleNamespace(rank_in_group=0)

    parallel = SimpleNamespace(
        data_parallel_size=layout.dp, enable_elastic_ep=False, enable_eplb=False, use_all2all=False
    )
    config = SimpleNamespace(parallel_config=parallel, engram_config=None, model_config=None)
    world = SimpleNamespace(local_rank=0, rank_in_group=0)
    with (
        mock.patch("vllm.config.get_current_vllm_config", lambda: config),
        mock.patch.multiple(
            parallel_state,
            **dict.fromkeys(MADE),
            init_model_parallel_group=record,
            get_world_group=lambda: world,
        ),
        mock.patch.multiple(
            distributed,
            is_initialized=lambda: True,
            get_world_size=lambda: layout.num_gpus,
            get_rank=lambda: 0,
        ),
    ):
        parallel_state.initialize_model_parallel(layout.tp, layout.pp, backend="gloo")
    return made


def test_it_is_the_version_that_was_read() -> None:
    assert vllm.__version__.startswith(ENGINE.version)


def test_vllm_makes_our_groups() -> None:
    """Its EP group serves EP, and the slices of experts where expert parallelism is off."""
    assert len(LAYOUTS) > 200
    for layout in LAYOUTS:
        made, grid = groups_of(layout), engine_grid(ENGINE, layout)
        for axis in ("tp", "dp", "pp"):
            assert sorted(made[axis]) == sorted(groups(grid, axis).tolist()), (layout, axis)
        experts = groups(grid, "ep" if layout.ep > 1 else "etp").tolist()
        assert sorted(made["ep"]) == sorted(experts), layout


@pytest.mark.parametrize("redundant", [0, 64])
def test_vllm_reads_our_commands_as_the_layouts_they_are(redundant: int) -> None:
    parser = make_arg_parser(Parser())
    assert ENGINE.launcher is not None
    layouts = [layout for layout in LAYOUTS if layout.copies == 1 and (layout.ep > 1 or not redundant)]
    for layout in layouts:
        stated = layout.model_copy(update={"redundant": redundant})
        for rank in range(2):
            place = Place(nodes=2, node_rank=rank, head="10.0.0.1")
            start = Start(layout=stated, model=REFERENCE, max_model_len=4096, place=place)
            args = parser.parse_args(list(ENGINE.launcher.speak(start).argv[2:]))
            config = ParallelConfig(
                tensor_parallel_size=args.tensor_parallel_size,
                pipeline_parallel_size=args.pipeline_parallel_size,
                data_parallel_size=args.data_parallel_size,
                enable_expert_parallel=args.enable_expert_parallel,
            )
            assert config.world_size_across_dp == layout.gpus_per_copy
            assert (config.tensor_parallel_size, config.data_parallel_size) == (layout.tp, layout.dp)
            assert config.enable_expert_parallel == (layout.ep > 1)
            assert args.eplb_config.num_redundant_experts == redundant
            assert args.enable_eplb == bool(redundant)
            assert (args.nnodes, args.node_rank, args.headless) == (2, rank, rank == 1)
            assert (args.model_tag, args.max_model_len) == (REFERENCE.name, 4096)
