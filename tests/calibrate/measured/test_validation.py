"""Predicted beside measured, on thirty real rows: each figure by another road, each error by hand."""

import csv
import io
from functools import cache
from math import log
from statistics import mean, median, quantiles

import pytest

from shardwright.calibrate.measured import prediction
from shardwright.calibrate.measured.bench import Bench, bench_outcome, benches, run_bench
from shardwright.calibrate.measured.case import Case, case_of
from shardwright.calibrate.measured.configuration import configurations, software_of
from shardwright.calibrate.measured.doubts import doubts_of
from shardwright.calibrate.measured.prediction import Predicted, host_for, predict
from shardwright.calibrate.measured.row import Row
from shardwright.calibrate.measured.validation import (
    COLUMNS,
    EVERY,
    OK,
    SOUND,
    Prediction,
    Score,
    Validation,
    predictions_csv,
    validate_rows,
)
from shardwright.cost.constants import constants
from shardwright.cost.software import pace_of, shipped_serving, spread_of
from tests.calibrate.measured.samples import ROWS, a_case, a_row

MEASURED = (
    *("ttft_ms_mean", "ttft_ms_median", "tpot_ms_mean", "tpot_ms_median", "e2e_ms"),
    *("output_tok_s_total", "output_tok_s_per_gpu"),
)


@cache
def found() -> Validation:
    return validate_rows(list(ROWS.values()), shipped_serving())


@cache
def by_id() -> dict[str, Prediction]:
    return {row.row_id: row for row in found().rows}


def a_bench(row: Row | str, **changes: object) -> Bench:
    (bench,) = benches([a_case(row, **changes)])
    assert isinstance(bench, Bench), bench
    return bench


def predicted(row: Row | str, **changes: object) -> Predicted:
    (each,) = predict([a_case(row, **changes)], shipped_serving())
    assert isinstance(each, Predicted), each
    return each


def value(row: Prediction, name: str) -> float:
    figure = getattr(row, name)
    assert figure is not None
    return figure.value


def scores(whole: Validation, by: str = "all", name: str = SOUND, unit: str = "row") -> dict[str, Score]:
    found = [each for each in whole.scores if (each.by, each.name, each.unit) == (by, name, unit)]
    return {each.metric: each for each in found}


def test_every_row_is_there_once_in_its_order() -> None:
    assert [row.row_id for row in found().rows] == list(ROWS)


@pytest.mark.parametrize("row_id", ROWS)
def test_a_row_is_predicted_or_says_why_not(row_id: str) -> None:
    row, reading = by_id()[row_id], case_of(ROWS[row_id])
    figures = (row.ttft_s, row.tpot_s, row.output_tokens_per_s_per_gpu, row.e2e_s)
    if row.status != OK:
        assert figures == (None,) * 4
        assert row.status.startswith(f"{row.rule}: ") and row.status.count("\n") == 0
        assert not isinstance(reading, Case) or row.rule == "kv"
        return
    assert isinstance(reading, Case) and not row.rule
    assert row.doubts == doubts_of(reading), "in doubt, and predicted all the same"
    assert row.tpot_s is not None and row.output_tokens_per_s_per_gpu is not None
    for figure in figures:
        assert figure is None or 0 < figure.low < figure.value < figure.high
        assert figure is None or figure.basis


@pytest.mark.parametrize("row_id", [key for key, row in ROWS.items() if isinstance(case_of(row), Case)])
def test_figures_are_those_of_the_row_run_alone(row_id: str) -> None:
    row = by_id()[row_id]
    if row.status != OK:
        assert row.rule == "kv"
        return
    bench = a_bench(row_id)
    seen = run_bench(bench, host_for(bench.case, shipped_serving()))
    assert value(row, "tpot_s") == seen.tpot_s
    per_gpu = value(row, "output_tokens_per_s_per_gpu")
    assert per_gpu * ROWS[row_id].gpus == pytest.approx(seen.output_tokens_per_s, rel=1e-12)
    if row.ttft_s is not None:
        assert (value(row, "ttft_s"), value(row, "e2e_s")) == (seen.ttft_s, pytest.approx(seen.e2e_s))


def test_blank_cells_are_predicted_alike() -> None:
    """But for rows that state medians, of which nothing is left to say so."""
    blank = [row.model_copy(update=dict.fromkeys(MEASURED)) for row in ROWS.values()]
    again = validate_rows(blank, shipped_serving())
    by_mean = [key for key, row in ROWS.items() if row.ttft_ms_median is None]
    assert len(by_mean) > 20
    for row in again.rows:
        if row.row_id in by_mean:
            same = by_id()[row.row_id].model_copy(update={"doubts": row.doubts})
            assert row == same
    assert again.scores == ()


def test_medians_are_held_against_medians() -> None:
    row = a_row(ttft_ms_mean=100.0, isl=2000, concurrency_or_batch=64)
    ttft = benches([a_case(row), a_case(row, ttft_ms_median=90.0)])
    outcomes = [bench_outcome(bench, host_for(bench.case, shipped_serving())) for bench in ttft]
    mean_s, median_s = (
        predicted(row, ttft_ms_median=stated).figures["ttft_s"].value for stated in (None, 90.0)
    )
    assert (mean_s, median_s) == (outcomes[0].ttft_s.mean, outcomes[0].ttft_s.p50)
    assert mean_s != median_s


@pytest.mark.parametrize("row_id", ["c86eff775538", "c6dfe122461e", "868ac7c0d0f6"])
def test_a_static_batch_makes_its_answers_in_its_latency(row_id: str) -> None:
    """Output tokens alone, as the column says; the source's own figure counts the prompts too."""
    row, figures = ROWS[row_id], by_id()[row_id]
    tokens = (row.concurrency_or_batch or 0) * row.osl
    rate = value(figures, "output_tokens_per_s_per_gpu") * row.gpus
    assert rate * value(figures, "e2e_s") == pytest.approx(tokens, rel=1e-9)
    per_token = value(figures, "ttft_s") + (row.osl - 1) * value(figures, "tpot_s")
    assert value(figures, "e2e_s") == pytest.approx(per_token, rel=1e-6)


def test_a_run_that_is_not_simulated_whole_has_no_first_token() -> None:
    """30,000 requests at once: the mean TTFT is half of the run, however long that is."""
    whole, part = by_id()["595dca42ed7d"], by_id()["8839c6558814"]
    assert (case_of(ROWS["8839c6558814"]).num_requests, part.ttft_s, part.e2e_s) == (30000, None, None)  # type: ignore[union-attr]
    assert whole.ttft_s is not None and whole.e2e_s is not None
    assert whole.output_tokens_per_s_per_gpu and part.output_tokens_per_s_per_gpu and part.tpot_s


def test_intervals_are_those_that_were_measured() -> None:
    case, figures = a_case("5f72e5ab4f12"), by_id()["5f72e5ab4f12"]
    profile = shipped_serving()
    software = software_of(case, profile)
    pace = pace_of(profile, case.cluster.device, software)
    metrics = {"tpot": figures.tpot_s, "ttft": figures.ttft_s}
    for metric, figure in (*metrics.items(), ("throughput", figures.output_tokens_per_s_per_gpu)):
        spread = spread_of(profile, metric, software, pace)  # type: ignore[arg-type]
        assert figure is not None
        assert figure.low / figure.value == pytest.approx(max(spread.low, 0.05))
        assert figure.high / figure.value == pytest.approx(spread.high)
        assert profile.source in figure.basis


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"gpus": 2, "pp": 2}, ("pipeline",)),
        ({"gpus": 16, "tp": 16}, ("several_nodes",)),
        ({"gpus": 16, "tp": 8, "pp": 2}, ("several_nodes", "pipeline")),
        ({"gpus": 16, "tp": 8}, ()),
    ],
)
def test_what_nobody_measured_widens_an_interval(changes: dict[str, int], names: tuple[str, ...]) -> None:
    row = a_row(model="meta-llama/Llama-3.1-405B", precision_weights="fp8", isl=100, osl=20)
    if changes["gpus"] == 2:
        row = a_row(osl=20)
    case = a_case(row.model_copy(update=changes))
    figure = predicted(row.model_copy(update=changes)).figures["tpot_s"]
    profile = shipped_serving()
    software = software_of(case, profile)
    spread = spread_of(profile, "tpot", software, pace_of(profile, case.cluster.device, software))
    more = sum(log(getattr(constants().intervals, name)) ** 2 for name in names)
    for end, plain in ((figure.high, spread.high), (figure.low, spread.low)):
        assert log(end / figure.value) ** 2 == pytest.approx(log(plain) ** 2 + more, rel=1e-6)


@pytest.mark.parametrize("row_id", ["e3c16d78758a", "732d98edbfd0", "7f2aae3551c9", "f02b2f403fec"])
def test_the_parts_of_ttft_are_all_of_it(row_id: str) -> None:
    bench = a_bench(row_id)
    outcome = bench_outcome(bench, host_for(bench.case, shipped_serving()))
    parts = predicted(row_id).parts
    assert parts.whole_s == pytest.approx(outcome.ttft_s.mean, rel=1e-9)
    assert min(parts.api_s, parts.first_wave_s, parts.queue_s, parts.prefill_s) >= -1e-12
    if bench.requests.arrivals_s is not None:
        assert parts.first_wave_s == 0
    if bench.server.policy.poll_steps == 1:
        assert parts.polling_s == 0


def test_an_engine_that_looks_seldom_makes_requests_wait() -> None:
    """SGLang on B200 looked every 30 steps of decode: half of that in the mean, less what came in time."""
    row_id = "f02b2f403fec"
    assert a_case(row_id).poll_steps == 30
    each = predicted(row_id)
    assert 0 < each.parts.polling_s <= each.parts.first_wave_s + each.parts.queue_s
    assert each.parts.polling_s < 30 * each.figures["tpot_s"].value


def test_shares_of_ttft_add_to_one() -> None:
    whole = {(each.by, each.name): each for each in found().ttft}
    every = whole["all", SOUND]
    assert every.rows == sum(each.rows for each in found().ttft if each.by == "engine")
    for each in found().ttft:
        shares = {part.name: part.share for part in each.parts}
        assert sum(share for name, share in shares.items() if name != "polling") == pytest.approx(1)


@pytest.mark.parametrize("metric", ["ttft_s", "tpot_s"])
@pytest.mark.parametrize("name", [SOUND, EVERY])
def test_errors_are_those_of_the_rows(metric: str, name: str) -> None:
    """By another road: the rows of the result beside the cells of the file."""
    pairs = []
    for row in found().rows:
        measured = getattr(ROWS[row.row_id], metric)
        is_closed = case_of(ROWS[row.row_id]).kind in ("closed", "open") if row.status == OK else False  # type: ignore[union-attr]
        if is_closed and measured is not None and (name == EVERY or not row.doubts):
            pairs.append((getattr(row, metric), measured))
    score = scores(found(), name=name)[metric]
    ratios = [figure.value / measured for figure, measured in pairs]
    off = [abs(ratio - 1) for ratio in ratios]
    assert score.count == len(pairs) > 5
    assert score.median == pytest.approx(median(off))
    assert score.bias == pytest.approx(median(ratios))
    assert score.p90 == pytest.approx(quantiles(off, n=10, method="inclusive")[-1])
    assert score.inside == pytest.approx(mean(f.low <= measured <= f.high for f, measured in pairs))


def test_slices_share_all_rows_out() -> None:
    for unit in ("row", "configuration"):
        whole = scores(found(), unit=unit)
        for by in ("mode", "engine", "gpu", "family"):
            parts = [each for each in found().scores if (each.by, each.unit) == (by, unit)]
            for metric, score in whole.items():
                assert sum(each.count for each in parts if each.metric == metric) == score.count
    doubted = {rule for row in found().rows for rule in row.doubts}
    assert {each.name for each in found().scores if each.by == "doubt"} == doubted


def test_coverage_counts_every_row_once() -> None:
    assert sum(each.rows for each in found().coverage) == len(ROWS)
    assert sum(each.cases for each in found().coverage) == sum(row.status == OK for row in found().rows)
    refused = [rule for each in found().coverage for rule, rows in each.refused.items() for _ in range(rows)]
    assert sorted(refused) == sorted(row.rule for row in found().rows if row.rule)


def told(*tpot_ms: float, **changes: object) -> list[Row]:
    """A row of each figure, measured on another day."""
    return [
        a_row(row_id=str(day), date=f"2026-01-{day + 1:02}", tpot_ms_mean=tpot, osl=20, **changes)
        for day, tpot in enumerate(tpot_ms)
    ]


def test_days_of_one_configuration_count_once_by_their_median(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    plain = prediction.bench_outcome
    monkeypatch.setattr(prediction, "bench_outcome", lambda *given: runs.append(1) or plain(*given))
    whole = validate_rows([*told(40.0, 50.0, 90.0), *told(70.0, concurrency_or_batch=4)], shipped_serving())
    assert len(runs) == 2, "and run once"
    of_rows, of_configurations = (scores(whole, unit=unit)["tpot_s"] for unit in ("row", "configuration"))
    assert (of_rows.count, of_configurations.count) == (4, 2)
    first, last = (value(whole.rows[index], "tpot_s") for index in (0, 3))
    assert {value(row, "tpot_s") for row in whole.rows[:3]} == {first}
    assert of_configurations.bias == pytest.approx(median([first / 0.05, last / 0.07]))
    assert of_rows.bias == pytest.approx(median([first / 0.04, first / 0.05, first / 0.09, last / 0.07]))


def test_on_more_nodes_it_is_another_configuration() -> None:
    one, two = (a_bench(a_row(gpus=8, tp=8, nodes=nodes)) for nodes in (1, 2))
    assert len(configurations([one, two], shipped_serving())) == 2


@pytest.mark.parametrize(("end", "by", "inside"), [("low", 1.01, 1), ("low", 0.99, 0), ("high", 0.99, 1)])
def test_a_row_inside_its_interval_is_counted_so(end: str, by: float, inside: float) -> None:
    (plain,) = told(1.0)
    figure = predicted(plain).figures["tpot_s"]
    measured = getattr(figure, end) * by
    whole = validate_rows(told(measured * 1e3), shipped_serving())
    assert scores(whole, name=EVERY)["tpot_s"].inside == inside


def test_a_prediction_that_is_right_has_no_error() -> None:
    (plain,) = told(1.0)
    seen = predicted(plain).figures
    right = plain.model_copy(
        update={
            "tpot_ms_mean": seen["tpot_s"].value * 1e3,
            "ttft_ms_mean": seen["ttft_s"].value * 1e3,
            "output_tok_s_per_gpu": seen["output_tokens_per_s"].value / plain.gpus,
        }
    )
    for score in validate_rows([right], shipped_serving()).scores:
        assert (score.median, score.bias, score.inside) == (pytest.approx(0), pytest.approx(1), 1)


def test_longer_requests_beside_it_change_no_figure() -> None:
    """Tables reach as far as the longest of a layout's rows."""
    row, host = a_row(isl=300, osl=20), host_for(a_case(a_row()), shipped_serving())
    alone = a_bench(row)
    beside, longer = benches([a_case(row), a_case(row, isl=20_000, osl=500)])
    assert isinstance(beside, Bench) and isinstance(longer, Bench)
    assert beside.server.times is longer.server.times
    assert len(beside.server.times.contexts) > len(alone.server.times.contexts)
    assert run_bench(beside, host) == run_bench(alone, host)


def test_the_csv_has_a_line_a_row() -> None:
    lines = list(csv.DictReader(io.StringIO(predictions_csv(found().rows))))
    assert tuple(lines[0]) == COLUMNS
    assert COLUMNS[:4] == ("row_id", "ttft_ms", "ttft_ms_low", "ttft_ms_high")
    assert [line["row_id"] for line in lines] == list(ROWS)
    for line, row in zip(lines, found().rows, strict=True):
        assert (line["status"], tuple(line["doubts"].split())) == (row.status, row.doubts)
        for name, figure, unit in (
            ("ttft_ms", row.ttft_s, 1e3),
            ("tpot_ms", row.tpot_s, 1e3),
            ("output_tok_s_per_gpu", row.output_tokens_per_s_per_gpu, 1),
            ("e2e_ms", row.e2e_s, 1e3),
        ):
            cells = [line[name + end] for end in ("_low", "", "_high")]
            if figure is None:
                assert cells == ["", "", ""]
                continue
            ends = [end * unit for end in (figure.low, figure.value, figure.high)]
            assert [float(cell) for cell in cells] == pytest.approx(ends, abs=1e-4)


def test_ids_with_commas_and_quotes_come_back_as_they_are() -> None:
    rows = [Prediction(row_id='a,"b"', status="model: 'x, y' is not known.", rule="model")]
    (line,) = csv.DictReader(io.StringIO(predictions_csv(rows)))
    assert (line["row_id"], line["status"]) == ('a,"b"', "model: 'x, y' is not known.")


def test_a_file_of_which_nothing_can_be_predicted_has_no_scores() -> None:
    whole = validate_rows([a_row(mode="disagg"), a_row(gpu="TPU v5")], shipped_serving())
    assert [row.rule for row in whole.rows] == ["disagg", "gpu"]
    assert whole.scores == whole.ttft == ()


def test_what_goes_wrong_in_a_run_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("a run went wrong")

    monkeypatch.setattr(prediction, "bench_outcome", broken)
    with pytest.raises(RuntimeError, match="a run went wrong"):
        validate_rows(told(1.0, 2.0), shipped_serving())


def test_all_rows_are_ticked_off() -> None:
    done: list[float] = []
    validate_rows(list(ROWS.values()), shipped_serving(), done.append)
    assert sum(done) == pytest.approx(len(ROWS))
