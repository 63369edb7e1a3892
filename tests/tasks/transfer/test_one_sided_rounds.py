"""Rounds that lack what they need: every rationale right, every one wrong, none finished. They end, and say why."""

from __future__ import annotations

from typing import Any

import pytest

from selfexplore_tasks.planning import following_round
from selfexplore_tasks.stages.names import ROUND_STAGES
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.manifests import read_manifest

REST = ROUND_STAGES[ROUND_STAGES.index("rft_set") :]


def run_round(bench: Any, texts: str, finish_reason: str = "stop") -> None:
    """One round on two equal texts a problem, with RFT from the base model."""
    rows = [
        {**row, "texts": [getattr(bench, texts)(number)] * 2, "finish_reason": [finish_reason] * 2}
        for number, row in zip(range(2, 14), bench.sampled(), strict=True)
    ]
    settings = ("--set", "rft.first_round=base", "--set", "rft.max_steps=1", "--set", "rft.batch_size=8")
    bench.import_rationales(rows, *settings, "--set", "max_rounds=5")
    for stage in ("sft", "evaluate", "gate", "summarize"):
        run_stage(bench.store, "brought", stage, round_number=0)
    for stage in REST:
        run_stage(bench.store, "brought", stage, round_number=1)


@pytest.mark.parametrize(
    ("texts", "finish_reason", "reason", "trains_rft"),
    [
        ("right", "stop", "no rationale is wrong (of 16)", True),
        ("wrong", "stop", "no rationale is correct (of 16: 16 wrong, 0 unfinished", False),
        ("unfinished", "length", "no rationale is correct (of 16: 0 wrong, 16 unfinished", False),
    ],
)
def test_the_round_ends_cleanly_and_says_what_is_missing(
    bench: Any, monkeypatch: pytest.MonkeyPatch, texts: str, finish_reason: str, reason: str, trains_rft: bool
) -> None:
    monkeypatch.setattr(type(bench), "unfinished", staticmethod(lambda number: f"{number} + 4 = "), raising=False)
    run_round(bench, texts, finish_reason)
    (row,) = bench.rows("select * from rounds where round = 1")
    assert row["stop_reason"].startswith(reason)
    assert read_manifest(bench.store, "brought", 1, "summarize").notes["stop_reason"] == row["stop_reason"]
    assert following_round(bench.store, "brought", 1) is None
    assert row["candidate"] == ("1/rft" if trains_rft else "0/base")
    assert bench.store.model_dir("brought", "1/rft").exists() is trains_rft
    assert not bench.store.model_dir("brought", "1/policy").exists(), "never an empty training run"


def test_a_round_with_pairs_has_no_reason_to_end(finished: Any) -> None:
    for stage in ("sft", "evaluate", "gate", "summarize"):
        run_stage(finished.store, "brought", stage, round_number=0)
    finished.stages("dpo", "arms", "evaluate", "gate", "summarize")
    assert read_manifest(finished.store, "brought", 1, "summarize").notes["stop_reason"] is None
