"""Many layouts at once against one at a time: enumeration, rules, figures, engines."""

from itertools import product

import numpy as np
import pytest

from shardwright.cost import price as prices
from shardwright.cost.stages import kinds, pipelines, stages
from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import breaches
from shardwright.model.spec import ModelSpec
from shardwright.search.candidates import Candidates, Triples, single_copies
from shardwright.search.cases import PRICED, SERVED
from shardwright.search.choose import engines_for
from shardwright.search.illegal import Illegal
from shardwright.search.table import Table, legal_copies, price_all
from shardwright.search.timing import price_layout
from tests.samples import DENSE, LATENT, REFERENCE, SMALL_MOE, WINDOWED
from tests.search.test_search import deployment


def test_triples_are_all_ordered_factorisations() -> None:
    triples = Triples.up_to(60)
    for number in range(1, 61):
        own = slice(triples.starts[number], triples.starts[number + 1])
        found = list(zip(triples.ep[own], triples.etp[own], triples.edp[own], strict=True))
        degrees = range(1, number + 1)
        assert found == [
            (ep, etp, number // ep // etp)
            for ep, etp in product(degrees, degrees)
            if number % ep == 0 and number // ep % etp == 0
        ]


def test_no_more_candidates_than_are_counted_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch holds whole depths of pipeline, in their order, whatever its size."""
    asked = {
        "max_gpus": 12,
        "max_pp": 5,
        "tensor_degrees": np.array([1, 2, 4]),
        "max_dp": 6,
        "has_experts": True,
        "homes": ("folded", "per_stage", "shared"),
    }
    at_once = list(single_copies(**asked))
    monkeypatch.setattr("shardwright.search.candidates.BATCH_ROWS", 50)
    in_pieces = list(single_copies(**asked))
    assert len(at_once) == 3 < len(in_pieces)
    for home in asked["homes"]:
        rows = [b.layout(i) for b in in_pieces if b.home == home for i in range(0, len(b), 7)]
        assert [layout.pp for layout in rows] == sorted(layout.pp for layout in rows)
    assert sum(map(len, in_pieces)) == sum(map(len, at_once))


@pytest.mark.parametrize("model", [DENSE, SMALL_MOE, LATENT, WINDOWED], ids=lambda model: model.name)
@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "shardwright"])
def test_every_row_has_the_figures_of_its_layout(model: ModelSpec, engine: str) -> None:
    """Also rows that only differ in their copies, which are priced together where they are alike."""
    given = deployment(model, 8, engine=engine)
    table = price_all(given, ENGINES[engine], max_gpus=8)
    for row in range(0, len(table), 1 if len(table) < 200 else len(table) // 200):
        cost = price_layout(given, table.layout(row))
        for name, get in PRICED.items():
            assert table.columns[name][row] == pytest.approx(float(get(cost)), rel=1e-12, abs=1e-6), name
        for name, of_client in SERVED.items():
            assert table.columns[name][row] == pytest.approx(float(of_client(cost.served)), rel=1e-12), name


def test_rows_of_equal_load_are_priced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    priced: list[int] = []
    given = deployment(REFERENCE, 16, engine="vllm")

    def counted(*site: object, **asked: object) -> object:
        priced.append(len(site[4]))  # type: ignore[arg-type]
        return prices.price(*site, **asked)

    monkeypatch.setattr("shardwright.search.cases.price", counted)
    table = price_all(given, ENGINES["vllm"], max_gpus=16)
    batch = given.workload.batch
    different = {
        (*(int(table.degrees(axis)[row]) for axis in ("tp", "dp", "pp", "ep", "etp")), sequences)
        for row in range(len(table))
        for sequences in (-(-batch // int(table.degrees("dp")[row] * table.degrees("copies")[row])),)
    }
    assert sum(priced) == len(different) < len(table)


@pytest.mark.parametrize("model", [SMALL_MOE, LATENT, WINDOWED], ids=lambda model: model.name)
@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_pipelines_of_many_depths_have_the_stages_of_each(model: ModelSpec, engine: str) -> None:
    depths = np.array([3, 1, 2, model.num_layers, 2])
    many = pipelines(model, ENGINES[engine].stages, depths)
    for row, pp in enumerate(depths.tolist()):
        held = [
            (kind.first, kind.last, {shape: int(count[row]) for shape, count in kind.runs if count[row]})
            for kind in kinds(model, many)
            for _ in range(int(kind.times[row]))
        ]
        every = stages(model, ENGINES[engine].stages(model.num_layers, pp))
        expected = [(stage.first, stage.last, dict(stage.runs)) for stage in every]
        assert sorted(held, key=str) == sorted(expected, key=str)


def test_engines_of_many_rows_are_those_that_each_layout_breaks_no_rule_of() -> None:
    given = deployment(REFERENCE, 8)
    table = price_all(given, ENGINES["shardwright"], max_gpus=8)
    rows = list(range(len(table) - 1, 0, -max(1, len(table) // 150)))
    for row, found in zip(rows, engines_for(table, rows, given.model, given.cluster), strict=True):
        layout = table.layout(row)
        assert found == tuple(
            engine.id
            for engine in ENGINES.values()
            if layout.home in engine.homes and not breaches(engine, layout, given.model, given.cluster)
        )


def test_illegal_layouts_are_counted_and_the_nearest_is_named() -> None:
    given = deployment(REFERENCE, 16, engine="vllm")
    illegal, engine = Illegal(), ENGINES["vllm"]
    list(legal_copies(given, engine, max_gpus=16, illegal=illegal))
    every = single_copies(
        max_gpus=16,
        max_pp=given.model.num_layers,
        tensor_degrees=np.array([d for d in range(1, 33) if 32 % d == 0]),
        max_dp=given.workload.batch,
        has_experts=True,
        homes=engine.homes,
    )
    rules = {rule.id: rule for rule in engine.rules}
    layouts = [one(batch, i) for batch in every for i in range(len(batch))]
    assert [row.rule for row in illegal.rows()]
    for row in illegal.rows():
        rule = rules[row.rule]
        excesses = [float(np.max(rule.breach(layout, given.model, given.cluster))) for layout in layouts]
        broken = [excess for excess in excesses if excess > 0]
        assert (row.count, row.excess) == (len(broken), min(broken))


def one(batch: Candidates, index: int) -> Candidates:
    return batch.where(np.array([index]))


def test_select_keeps_the_places_of_rows_over_batches() -> None:
    given = deployment(SMALL_MOE, 4)
    table: Table = price_all(given, ENGINES["shardwright"], max_gpus=4)
    rows = [len(table) - 1, 0, len(table) // 2]
    found = {}
    for places, batch in table.select(rows):
        found |= {place: batch.layout(i) for i, place in enumerate(places)}
    assert [found[i] for i in range(3)] == [table.layout(row) for row in rows]
