"""Estimates: what a recipe lets expect, how measurements correct it, what is said without any, and the disk check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from selfexplore_tasks.cli import main
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.estimates import (
    RoundEstimate,
    check_disk,
    describe,
    estimate_round,
    estimate_rounds,
    read_estimate,
    save_estimate,
)
from selfexplore_tasks.estimates.counts import (
    ProblemCounts,
    expected_counts,
    rollouts_per_rationale,
    work_of_round,
)
from selfexplore_tasks.estimates.disk import parameter_count, table_bytes
from selfexplore_tasks.estimates.measurements import kind_of
from selfexplore_tasks.estimates.model import total_disk
from selfexplore_tasks.estimates.probe import probe
from selfexplore_tasks.planning import plan_round
from selfexplore_tasks.recipe import Explore, Recipe
from selfexplore_tasks.recipe_files import load_recipe, recipe_hash, recipe_names
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.catalogue import SQL_DIR
from selfexplore_tasks.store.experiments import Experiment, load_experiment
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.forks import fork_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.manifests import Manifest, read_manifest, write_manifest
from selfexplore_tasks.store.select import select

TINY = "arithmetic-tiny"
COUNTS = ProblemCounts(train=5500, solved=500, answered=1200)


def put_experiment(store: Store, slug: str, overrides: dict[str, object] | None = None) -> Experiment:
    """An experiment without a round."""
    recipe = load_recipe(TINY, overrides)
    content = {"recipe": recipe.model_dump(mode="json"), "recipe_hash": recipe_hash(recipe), "created_at": "2026-01-01"}
    write_json(store.experiment_file(slug), content)
    return load_experiment(store, slug)


def put_sample(
    store: Store,
    experiment: Experiment,
    round_number: int,
    *,
    seconds: float,
    tokens: int,
    notes: dict[str, str] | None = None,
) -> None:
    """A finished stage sample, which drew as many rationales as the recipe says."""
    manifest = Manifest(
        experiment=experiment.slug,
        round=round_number,
        stage="sample",
        recipe_hash=experiment.recipe_hash,
        seed=0,
        started_at="",
        finished_at=f"2026-01-01T00:00:{round_number:02d}",
        seconds=seconds,
        token_count=tokens,
        row_counts={"rationales": 2500 * experiment.recipe.sample.n},
        notes=notes or {},
    )
    write_manifest(store, manifest)


ANY_COUNTS = st.builds(
    ProblemCounts, train=st.integers(300, 9000), solved=st.integers(1, 299), answered=st.integers(1, 99)
)


@settings(deadline=None, max_examples=50)
@given(
    n=st.integers(1, 40),
    k=st.integers(1, 8),
    round_number=st.integers(1, 9),
    counts=ANY_COUNTS,
    options=st.fixed_dictionaries({"adaptive": st.booleans(), "confirm": st.booleans()}),
    search=st.sampled_from(["linear", "binary", "noisy_binary"]),
)
def test_more_draws_are_never_less_work(
    n: int, k: int, round_number: int, counts: ProblemCounts, options: dict[str, bool], search: str
) -> None:
    explore = {f"explore.{name}": value for name, value in {**options, "search": search}.items()}
    less, more = (
        work_of_round(load_recipe(TINY, {"sample.n": n + one, "explore.k": k + one, **explore}), round_number, counts)
        for one in (0, 1)
    )
    assert tuple(less) == tuple(more) == stages_of(round_number)
    for stage, work in less.items():
        assert 0 <= work.items <= more[stage].items
        assert 0 <= work.tokens <= more[stage].tokens
        assert (work.tokens > 0) == (work.items > 0 and kind_of(stage) != "relational")


@pytest.mark.parametrize(
    ("explore", "expected"),
    [
        ({"k": 4}, 12.0),  # 1, 2, ... 5 steps of 4
        ({"k": 4, "confirm": True}, 16.0),  # 4 more at the pit
        ({"k": 4, "adaptive": True}, 8.4),  # 1 a step that passes, 4 at the pit and at the step before it
        ({"k": 4, "adaptive": True, "top_up": False}, 6.0),  # 1 at the step before it
        ({"k": 1, "search": "binary"}, 2.6),  # 2, 3, 3, 2, 3 steps
        ({"k": 4, "search": "noisy_binary", "top_up": False}, 6.2),  # 4, 6, 7, 8, 6
    ],
)
def test_rollouts_follow_the_search(explore: dict[str, Any], expected: float) -> None:
    assert rollouts_per_rationale(Explore(**explore)) == pytest.approx(expected)


FROM_PAIRS = {"outcome_pairs", "explore", "granular_pairs", "dpo"}


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        ({"compare": True}, {"arms", "evaluate"}),
        ({"pairs.rationales_from": "generator"}, {"sample_explorer", *FROM_PAIRS}),
        ({"rft.first_round": "skip"}, {"rft", "sample_explorer", "evaluate", *FROM_PAIRS}),
        ({"by_round.n": [4]}, {"sample", "sample_explorer", "rft_set", *FROM_PAIRS}),
        ({"dpo.max_steps": 5}, {"dpo"}),
        ({"max_rounds": 9, "gate.alpha": 0.1}, set()),
    ],
    ids=lambda value: str(value if isinstance(value, dict) else sorted(value)),
)
def test_what_a_setting_changes(overrides: dict[str, object], changes: set[str]) -> None:
    before, after = (work_of_round(load_recipe(TINY, given), 1, COUNTS) for given in ({}, overrides))
    assert {stage for stage in before if before[stage] != after[stage]} == changes


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_of_a_file_are_estimated_without_parsing_it(tmp_path: Path, suffix: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"question": f"How many? {number}", "answer": str(number)} for number in range(5000)]
    path = tmp_path / f"own{suffix}"
    pq.write_table(pa.Table.from_pylist(rows), path)
    if suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    recipe = load_recipe(
        TINY,
        {"problems": {"train": {"kind": "file", "path": str(path)}, "dev_count": 500, "rationale_count": 500}},
    )
    counts = expected_counts(recipe.problems)
    assert counts.train == pytest.approx(4000, rel=0.05)
    assert (counts.solved, counts.answered) == (500, 1000)


def test_without_a_measurement_it_is_a_stated_guess(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = estimate_round(store, put_experiment(store, "new"), 1)
    assert found.source.startswith("guess: 700 k weights on ")
    assert set(found.seconds) == set(found.tokens) == set(found.sources) == set(stages_of(1))
    assert found.sources["arms"] == "nothing to do"
    larger = estimate_round(store, put_experiment(store, "larger", {"model.scratch.layers": 60}), 1)
    assert larger.seconds["sample"] > 2 * found.seconds["sample"]
    assert larger.disk_bytes > 10 * found.disk_bytes


@pytest.mark.parametrize(
    ("measured", "own", "seconds", "tokens", "source"),
    [
        # 12 s of 112 are for starting up; the rest grows with the tokens.
        ({}, {}, 112, 600_000, "1 run of this recipe"),
        ({}, {"sample.n": 16}, 212, 1_200_000, "1 run of this model"),
        ({}, {"shards": 1}, 212, 600_000, "1 run of this recipe"),
        ({}, {"sample.problems_per_round": 1250}, 62, 300_000, "1 run of this model"),
        # Another model's time goes with its size, its texts tell nothing.
        ({"model.scratch.layers": 6}, {}, 12 + 100 * 0.9 * 704512 / 1343488, 540_000, "1 run of another model"),
        ({"engine.kind": "transformers"}, {}, None, 540_000, "guess"),
    ],
    ids=str,
)
def test_another_experiment_was_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    measured: dict[str, object],
    own: dict[str, object],
    seconds: float | None,
    tokens: int,
    source: str,
) -> None:
    monkeypatch.setattr("selfexplore_tasks.estimates.measurements.gpu_count", lambda: 2)
    store = Store(tmp_path)
    put_sample(store, put_experiment(store, "earlier", measured), 1, seconds=112, tokens=600_000)
    found = estimate_round(store, put_experiment(store, "own", own), 1)
    assert found.tokens["sample"] == tokens
    assert source in found.sources["sample"]
    if seconds is not None:
        assert found.seconds["sample"] == pytest.approx(seconds, abs=0.1)
        # Never measured itself, but of the same kind.
        assert "(stage sample)" in found.sources["evaluate"]


def test_the_experiments_own_rounds_tell_how_long_texts_are(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put_sample(store, put_experiment(store, "earlier"), 1, seconds=500, tokens=900_000)
    own = put_experiment(store, "own")
    for number, tokens in enumerate((600_000, 500_000, 550_000), start=1):
        put_sample(store, own, number, seconds=tokens / 5000, tokens=tokens)
    found = estimate_round(store, own, 4)
    assert found.tokens["sample"] == 550_000
    assert found.items["sample"] == 20_000
    assert found.sources["sample"] == "measured: 4 runs of this recipe"


def test_what_tells_nothing_is_left_out(tmp_path: Path) -> None:
    """A recipe that is not valid any more, a manifest of a newer version, imported texts, and a damaged file."""
    store = Store(tmp_path)
    old, newer, own = (put_experiment(store, slug) for slug in ("old", "newer", "own"))
    store.experiment_file("damaged").write_text("{", encoding="utf-8")
    put_sample(store, own, 1, seconds=1, tokens=600_000, notes={"imported_from": "drawn.jsonl"})
    for experiment in (old, newer):
        put_sample(store, experiment, 1, seconds=100, tokens=600_000)
    content = json.loads(store.experiment_file("old").read_text())
    write_json(store.experiment_file("old"), {**content, "recipe": {**content["recipe"], "no_such_section": 1}})
    manifest = store.manifest_file("newer", 1, "sample")
    write_json(manifest, {**json.loads(manifest.read_text()), "schema_version": 99})
    assert estimate_round(store, own, 1).sources["sample"].startswith("guess")


def test_a_finished_round_foretells_the_next(finished_store: Store) -> None:
    """Rounds 0 and 1 really ran: round 2 samples the same problems, so nearly everything repeats."""
    mini = load_experiment(finished_store, "mini")
    found = estimate_round(finished_store, mini, 2)
    for stage in ("sample", "rft", "sample_explorer", "explore", "dpo", "arms", "evaluate"):
        before = read_manifest(finished_store, "mini", 1, stage)
        assert before is not None
        assert found.tokens[stage] == pytest.approx(before.token_count, rel=0.05), stage
        assert found.seconds[stage] == pytest.approx(before.seconds, rel=0.05, abs=0.06), stage
        assert found.sources[stage] == "measured: 1 run of this experiment"
    models = finished_store.root / "models" / "mini" / "round=001"
    written = sum(path.stat().st_size for path in models.rglob("*") if path.is_file())
    assert written / 1.5 < found.model_bytes < 1.5 * written
    assert found.table_bytes == pytest.approx(table_bytes(finished_store, "mini", 1), rel=0.05)
    assert found.disk_bytes > found.model_bytes + found.table_bytes


def test_weights_are_counted_in_the_files(finished_store: Store, tiny_model_dir: Path) -> None:
    recipe = load_experiment(finished_store, "mini").recipe
    for folder, found in (
        (finished_store.model_dir("mini", "0/base"), parameter_count(recipe)),
        (tiny_model_dir, parameter_count(load_recipe(TINY, {"model": {"path": str(tiny_model_dir)}}))),
    ):
        with safe_open(folder / "model.safetensors", framework="numpy") as file:
            real = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
        assert found == pytest.approx(real, rel=0.02)
        assert parameter_count(recipe, folder) == real


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [("gsm8k-mistral-7b", None, 7e9), ("gsm8k-qwen2.5-0.5b", None, 0.5e9), ("gsm8k-smollm2-135m", None, 135e6)],
)
def test_weights_are_told_by_the_name(name: str, path: str | None, expected: float) -> None:
    assert parameter_count(load_recipe(name)) == expected


def test_the_disk_is_checked_before_a_round_starts(tmp_path: Path) -> None:
    store = Store(tmp_path / "not" / "yet")
    experiment = put_experiment(store, "own")
    check_disk(store, experiment, 3, 1)
    with pytest.raises(UserError, match=r"Round 3 of 'own' needs about 931322.6 GiB in .*/yet, .* free: .*keep_rounds"):
        check_disk(store, experiment, 3, 10**15)
    huge = put_experiment(store, "huge", {"model": {"path": "nobody/huge-900b"}})
    with pytest.raises(UserError, match="Round 1 of 'huge' needs"):
        plan_round(store, huge, 1)
    assert read_estimate(store, "huge", 1) is None


def test_old_models_are_not_counted_twice() -> None:
    rounds = [RoundEstimate(n, "", disk_bytes=170, model_bytes=100, table_bytes=20) for n in range(6)]
    assert total_disk(rounds, None) == 6 * 120 + 50
    assert total_disk(rounds, 1) == 6 * 20 + 3 * 100 + 50


def test_an_estimate_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    experiment = put_experiment(store, "own")
    assert read_estimate(store, "own", 1) is None
    planned = plan_round(store, experiment, 1)
    assert planned is not None
    assert read_estimate(store, "own", 1) == planned
    save_estimate(store, "own", replace(planned, source="later"))
    assert plan_round(store, experiment, 1) is None


def test_estimate_and_actual_stand_side_by_side(store_before: Callable[[str], Store]) -> None:
    store = store_before("summarize")
    planned = estimate_round(store, load_experiment(store, "mini"), 1)
    save_estimate(store, "mini", planned)
    run_stage(store, "mini", "summarize", round_number=1)
    query = (SQL_DIR / "queries" / "estimates.sql").read_text(encoding="utf-8")
    rows = [row for row in select(store, ["mini"], query).to_pylist() if row["round"] == 1]
    assert {row["stage"] for row in rows} == set(stages_of(1)) - {"summarize"}
    sample = next(row for row in rows if row["stage"] == "sample")
    manifest = read_manifest(store, "mini", 1, "sample")
    assert manifest is not None
    assert sample["tokens"] == manifest.token_count
    assert sample["estimated_tokens"] == planned.tokens["sample"]
    assert sample["estimated_seconds"] == planned.seconds["sample"]
    assert sample["token_ratio"] == pytest.approx(planned.tokens["sample"] / manifest.token_count, abs=0.01)


@pytest.mark.parametrize("name", recipe_names())
def test_the_line_of_the_trigger_form(name: str) -> None:
    line = describe(name)
    assert line.startswith(f"{name}: about ")
    assert len(line) < 100
    if name == TINY:
        assert line == f"{TINY}: about 1.7 M tokens and 8 MB a round"


def test_the_probe_generates_and_trains(round_recipe: Path, tmp_path: Path) -> None:
    recipe: Recipe = load_recipe(str(round_recipe))
    found = probe(recipe, seconds=2.0)
    assert [one.stage for one in found] == ["sample", "sft"]
    assert all(one.tokens > 0 and 0 < one.seconds < 10 for one in found)
    (estimate,) = estimate_rounds(Store(tmp_path), recipe, None, [1], found)
    spent = {stage: source for stage, source in estimate.sources.items() if kind_of(stage) != "relational"}
    assert set(spent.values()) == {"probe"}


def test_a_probe_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"measured nothing \(.*no_model is not a folder.*without --probe"):
        probe(load_recipe(TINY, {"model": {"path": str(tmp_path / "no_model")}}))


def test_the_command(
    finished_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))
    assert main(["estimate", "--experiment", "mini", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["round"] for one in found["rounds"]] == [2]
    assert found["total"]["tokens"] == sum(found["rounds"][0]["tokens"].values())
    assert main(["estimate", TINY, "--rounds", "3", "--set", "sample.n=16"]) == 0
    text = capsys.readouterr().out
    assert "40,000 rationales" in text
    assert "Rounds 0 to 3: about " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give a recipe"),
        ([TINY, "--experiment", "mini"], "not both"),
        (["--experiment", "mini", "--rounds", "1"], "has finished round 1 already: give larger --rounds"),
        ([TINY, "--rounds", "-1"], "--rounds must be 0 or more"),
        (["--experiment", "none"], "'none' does not exist"),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    finished_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SELFEXPLORE_HOME", str(finished_store.root))
    assert main(["estimate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_fork_that_draws_half_is_expected_to_take_half(finished_store: Store, tmp_path: Path) -> None:
    store = Store(Path(shutil.copytree(finished_store.root, tmp_path / "store", symlinks=True)))
    half = fork_experiment(store, "mini", 1, "half", {"sample.n": 2})
    as_before, fewer = (
        estimate_round(store, one, 2).tokens["sample"] for one in (load_experiment(store, "mini"), half)
    )
    assert fewer == pytest.approx(as_before / 2, rel=0.01)
