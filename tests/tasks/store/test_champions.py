"""The champion: its history from the rounds and from people, the link that is loaded, and the model card."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfexplore_tasks.champion_card import lineage
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe_files import load_recipe, recipe_hash
from selfexplore_tasks.report import format_accuracy, query_rows
from selfexplore_tasks.store.champions import (
    champion,
    champion_before,
    champion_history,
    manual_choice,
    refresh_link,
    rollback,
    set_champion,
)
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import stage_lock
from selfexplore_tasks.store.manifests import Manifest, read_manifests, write_manifest

RIVALS = "model_id = '1/policy' and baseline_id = '0/sft'"
BY = {"who": "ann", "why": "reads better"}


def commit(store: Store, round_number: int, stage: str, **notes: Any) -> None:
    at = f"2026-01-{round_number + 1:02d}T00:00:00.000+00:00"
    write_manifest(store, Manifest("e", round_number, stage, "h", 1, at, at, 1.0, notes=notes))


def finish(store: Store, round_number: int, model_id: str, *, promoted: bool = True) -> None:
    commit(store, round_number, "summarize", champion=model_id, promoted=promoted)


def evaluated(store: Store, round_number: int, *models: str) -> None:
    """Make folders that look like models, measured in that round."""
    commit(store, round_number, "evaluate", models=list(models))
    for model in models:
        folder = store.model_dir("e", model)
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / name).write_text("{}", encoding="utf-8")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An experiment with the champions 0/sft and 1/policy and a rejected 2/policy."""
    store = Store(tmp_path / "home")
    recipe = load_recipe("arithmetic-tiny").model_dump(mode="json")
    write_json(store.experiment_file("e"), {"recipe": recipe, "recipe_hash": "h", "created_at": "2026"})
    for number, model, promoted in ((0, "0/sft", True), (1, "1/policy", True), (2, "2/policy", False)):
        evaluated(store, number, model)
        finish(store, number, model if promoted else "1/policy", promoted=promoted)
    return store


def models(store: Store) -> list[str]:
    return [entry.model_id for entry in champion_history(store, "e")]


def test_the_history_is_what_the_rounds_promoted(store: Store) -> None:
    assert [(entry.round, entry.who) for entry in champion_history(store, "e")] == [(0, "gate"), (1, "gate")]
    assert [champion_before(store, "e", number) for number in (1, 2, 3)] == ["0/sft", "1/policy", "1/policy"]
    with pytest.raises(UserError, match="round 3 is not finished"):
        champion_before(store, "e", 4)


def test_a_choice_after_a_round_holds_from_the_next_one(store: Store) -> None:
    entry = set_champion(store, "e", "2/policy", **BY)
    assert (entry.round, entry.who, entry.why) == (2, "ann", "reads better")
    assert champion(store, "e") == entry
    assert [champion_before(store, "e", number) for number in (2, 3)] == ["1/policy", "2/policy"]
    finish(store, 3, "3/policy")
    assert models(store) == ["0/sft", "1/policy", "2/policy", "3/policy"]


def begin_with_a_stage(store: Store) -> None:
    commit(store, 3, "sample")


def begin_with_a_chunk(store: Store) -> None:
    part = store.table_dir("rationales", "e", 3) / "part-sample-00000.parquet"
    part.parent.mkdir(parents=True)
    part.touch()


@pytest.mark.parametrize("begin", [begin_with_a_stage, begin_with_a_chunk])
def test_a_choice_during_a_round_does_not_change_what_it_began_with(store: Store, begin: Any) -> None:
    begin(store)
    assert set_champion(store, "e", "2/policy", **BY).round == 3
    assert champion_before(store, "e", 3) == "1/policy"
    chosen = manual_choice(store, "e", 3)
    assert chosen is not None
    assert chosen.model_id == "2/policy"
    finish(store, 3, "2/policy", promoted=False)
    assert champion_before(store, "e", 4) == "2/policy"


def test_a_stage_at_work_has_begun_its_round(store: Store) -> None:
    with stage_lock(store, "e", round_number=3, stage="sample", shard=0):
        assert set_champion(store, "e", "2/policy", **BY).round == 3


@pytest.fixture(scope="module")
def five_rounds(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("five_rounds"))
    for number in range(5):
        finish(store, number, f"{number}/policy", promoted=number == 0)
    store.champion_file("e").parent.mkdir()
    return store


@settings(deadline=None)
@given(choices=st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), max_size=12))
def test_whatever_people_choose_a_round_keeps_its_start(five_rounds: Store, choices: list[tuple[int, str]]) -> None:
    """Choices by hand of round r and later never reach `champion_before(r)`; the last earlier one decides it."""
    entries: list[dict[str, Any]] = [
        {"model_id": f"0/{name}", "round": number, "at": f"2026-02-{place + 1:02d}", **BY}
        for place, (number, name) in enumerate(choices)
    ]
    five_rounds.champion_file("e").write_text(json.dumps({"chosen": entries}), encoding="utf-8")
    for number in range(1, 6):
        earlier = [entry for entry in entries if entry["round"] < number]
        last = max(earlier, key=lambda entry: (entry["round"], entry["at"]), default={"model_id": "0/policy"})
        assert champion_before(five_rounds, "e", number) == last["model_id"]


def test_going_back_twice_leads_two_champions_back(store: Store) -> None:
    set_champion(store, "e", "2/policy", **BY)
    assert rollback(store, "e", **BY).model_id == "1/policy"
    assert rollback(store, "e", **BY).model_id == "0/sft"
    with pytest.raises(UserError, match="had no champion before 0/sft"):
        rollback(store, "e", **BY)
    assert models(store) == ["0/sft", "1/policy", "2/policy", "1/policy", "0/sft"]


REFUSED = {
    "1/policy": "is the champion of 'e' already",
    "9/policy": "has no config.json in .*pruned or never trained",
    "0/untested": r"was never evaluated on dev \(choose from 0/sft, 1/policy, 2/policy\)",
    "../../x": "is no model",
}


@pytest.mark.parametrize("model", REFUSED)
def test_what_cannot_be_champion_is_refused(store: Store, model: str) -> None:
    shutil.copytree(store.model_dir("e", "0/sft"), store.model_dir("e", "0/untested"))
    with pytest.raises(UserError, match=REFUSED[model]):
        set_champion(store, "e", model, **BY)
    assert not store.champion_file("e").exists()


def test_before_round_zero_is_finished_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no champion yet: round 0 is not finished"):
        champion(Store(tmp_path), "e")


def test_the_link_always_leads_to_a_champion(store: Store) -> None:
    link = refresh_link(store, "e")
    assert link.readlink() == Path("round=001/policy")
    stop, broken = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            if not (link / "config.json").exists():
                broken.append(link)

    looker = threading.Thread(target=look)
    looker.start()
    for model in ["2/policy", "0/sft"] * 2:
        set_champion(store, "e", model, **BY)
    stop.set()
    looker.join()
    assert broken == []
    assert sorted(path.name for path in link.parent.iterdir()) == ["champion", "round=000", "round=001", "round=002"]


def test_a_store_that_was_copied_without_its_links_gets_them_again(store: Store, tmp_path: Path) -> None:
    refresh_link(store, "e")
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.root, copy.root, symlinks=False)
    set_champion(copy, "e", "2/policy", **BY)
    assert copy.champion_link("e").readlink() == Path("round=002/policy")


def test_a_base_model_elsewhere_is_linked_and_left_as_it_is(tmp_path: Path, tiny_model_dir: Path) -> None:
    store = Store(tmp_path)
    recipe = load_recipe("arithmetic-tiny").model_dump(mode="json")
    write_json(store.experiment_file("e"), {"recipe": recipe, "recipe_hash": "h", "created_at": "2026"})
    commit(store, 0, "prepare", base_model=str(tiny_model_dir))
    finish(store, 0, "0/base")
    before = sorted(tiny_model_dir.iterdir())
    assert refresh_link(store, "e").resolve() == tiny_model_dir
    assert sorted(tiny_model_dir.iterdir()) == before


def test_lineage_leads_to_the_base(store: Store) -> None:
    commit(store, 0, "sft", model_id="0/sft", start_model_id="0/base")
    commit(store, 1, "rft", model_id="1/rft", start_model_id="0/base")
    commit(store, 1, "dpo", model_id="1/policy", start_model_id="1/rft")
    commit(store, 1, "arms", models=["1/outcome_dpo"], start_model_id="1/rft")
    commit(store, 2, "dpo", model_id="1/policy")
    steps = {
        model: [step[:2] for step in lineage(read_manifests(store, "e"), model)]
        for model in ("1/policy", "1/outcome_dpo", "0/base")
    }
    assert steps == {
        "1/policy": [("1/policy", "1/rft"), ("1/rft", "0/base")],
        "1/outcome_dpo": [("1/outcome_dpo", "1/rft"), ("1/rft", "0/base")],
        "0/base": [],
    }


def test_the_card_names_what_the_hub_knows(store: Store) -> None:
    from huggingface_hub import ModelCard

    recipe = load_recipe("gsm8k-mistral-7b").model_dump(mode="json")
    write_json(store.experiment_file("e"), {"recipe": recipe, "recipe_hash": "h", "created_at": "2026"})
    data = ModelCard.load(refresh_link(store, "e") / "README.md").data
    assert (data.base_model, data.datasets, data.metrics) == (recipe["model"]["path"], ["openai/gsm8k"], ["accuracy"])


def test_a_trained_champion_loads_and_has_a_card(finished_store: Store, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard
    from transformers import AutoModelForCausalLM, AutoTokenizer

    store = Store(tmp_path / "moved")
    shutil.copytree(finished_store.root, store.root, symlinks=True)
    set_champion(store, "mini", "1/policy", who="ann", why="one | two\nthree")
    link = store.champion_link("mini")
    assert AutoModelForCausalLM.from_pretrained(link).num_parameters() > 0
    assert AutoTokenizer.from_pretrained(link)("1 + 1")["input_ids"]
    card = ModelCard.load(link / "README.md")
    assert card.data.library_name == "transformers"
    assert {result.metric_type for result in card.data.eval_results} == {"accuracy"}
    assert len(card.data.eval_results) == 2
    (dev,) = query_rows(store, ["mini"], "from scores where model_id = '1/policy' and split = 'dev'")
    (gain,) = query_rows(store, ["mini"], f"from comparisons where {RIVALS} and split = 'dev'")
    for row in (
        f"| easy | dev | {format_accuracy(dev)} | 30 |",
        f"| 0/sft | easy | dev | {100 * gain['difference']:+.1f} [",
        "| train | easy | 280 |",
        "| 1/policy | 1/rft | dpo of round 1 |",
        "| 1/rft | 0/base | rft of round 1 |",
        "| 0 | 0/sft | the experiment's first model |",
        "| seed | 1 |",
        "| base model | random weights |",
    ):
        assert row in card.text
    recipe_file = tmp_path / "again.yaml"
    recipe_file.write_text(card.text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    again = load_recipe(str(recipe_file))
    assert f"hash {recipe_hash(again)} |" in card.text
