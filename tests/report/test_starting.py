"""The command to copy, its nodes and its copies."""

import shlex

from shardwright.engine.catalog import ENGINES
from shardwright.engine.start import HEAD_ADDRESS, Place, Start
from shardwright.layout.notation import parse_layout
from shardwright.report.document import Code, Paragraph
from shardwright.report.starting import starting
from tests.report.records import DEPLOYMENT, pool


def commands(document):
    return [line for block in document if isinstance(block, Code) for line in block.text.splitlines()]


def notes(document):
    return " ".join(block.text for block in document if isinstance(block, Paragraph))


def written(engine, layout, place=None):
    start = Start(
        layout=parse_layout(layout),
        model=DEPLOYMENT.model,
        max_model_len=DEPLOYMENT.workload.max_model_len,
        place=place or Place(),
    )
    return ENGINES[engine].launcher.speak(start).line


def test_one_node_is_the_command_of_the_pool():
    own = pool("tp2.dp2/ep4", 4, command=("vllm", "serve", "a b"))
    document = starting(DEPLOYMENT, own)
    assert commands(document) == ["vllm serve 'a b'"]
    assert notes(document) == ""


def test_two_nodes_have_a_line_each_as_the_engine_writes_it():
    document = starting(DEPLOYMENT, pool("tp2.dp4/ep8", 8))
    lines = commands(document)
    for rank, line in enumerate(lines):
        place = Place(nodes=2, node_rank=rank, head=HEAD_ADDRESS)
        assert tuple(shlex.split(line)) == written("vllm", "tp2.dp4/ep8", place)
    assert len(lines) == 2
    assert "--headless" in lines[1] and "--headless" not in lines[0]


def test_copies_are_told_their_gpus():
    document = starting(DEPLOYMENT, pool("tp2/etp2.x3", 6))
    assert len(commands(document)) == 1
    assert "copy 0 on GPUs 0-1; copy 1 on GPUs 2-3; copy 2 on GPUs 4-5" in notes(document)


def test_a_copy_that_does_not_divide_over_its_nodes_says_so():
    document = starting(DEPLOYMENT, pool("dp5/ep5", 5))
    assert len(commands(document)) == 1
    assert "over 2 nodes of 4 does not divide" in notes(document)


def test_any_engine_starts_with_the_first_server_that_runs_the_layout():
    ours = DEPLOYMENT.model_copy(update={"engine": "any"})
    for layout, server, gpus in (("tp2.dp2/ep4", "vllm", 4), ("tp4/ep2.etp2", "sglang", 4)):
        engine = ENGINES[server]
        command = written(server, layout)
        document = starting(ours, pool(layout, gpus, command=command))
        assert commands(document) == [shlex.join(command)]
        whose = f"This is the command of {engine.title} {engine.version}"
        assert notes(document).startswith(whose)
        assert "the prediction is for Shardwright runtime 0.1" in notes(document)


def test_any_engine_on_two_nodes_has_the_lines_of_that_server():
    ours = DEPLOYMENT.model_copy(update={"engine": "any"})
    lines = commands(starting(ours, pool("tp8/ep4.etp2", 8, command=("x",))))
    assert len(lines) == 2 and all("sglang.launch_server" in line for line in lines)


def test_an_mpi_world_has_one_line():
    trtllm = DEPLOYMENT.model_copy(update={"engine": "trtllm"})
    document = starting(trtllm, pool("tp8/ep8", 8, command=("x",)))
    (line,) = commands(document)
    assert line.startswith("trtllm-llmapi-launch trtllm-serve") and "--gpus_per_node 4" in line
    assert "All 8 ranks of a copy run this command as one MPI world, 4 on each of 2 nodes" in notes(document)


def test_no_command_is_said_not_invented():
    ours = DEPLOYMENT.model_copy(update={"engine": "any"})
    document = starting(ours, pool().model_copy(update={"command": ()}))
    assert commands(document) == []
    assert "No command" in notes(document)
