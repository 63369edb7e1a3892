"""A store for benchmarks of text generation: a tiny arithmetic model, and wrong rationales of 2 to 8 steps to explore.

Made once (about four minutes of one core) and kept under ``.run/bench``: a recipe like `arithmetic-tiny`, run up to the
outcome pairs of round 1 without RFT. A killed making goes on where it was.
"""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.names import stages_of
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.experiments import load_experiment, open_experiment
from selfexplore_tasks.store.home import Store

FOLDER = Path(__file__).resolve().parents[2] / ".run" / "bench"
EXPERIMENT = "bench"
RECIPE = """
name: bench
description: Longer problems than arithmetic-tiny's, most of them with gold rationales; no RFT.
problems:
  train: {kind: arithmetic, count: 5200, min_steps: 2, max_steps: 8, max_value: 30, start_range: [2, 20]}
  train_count: 5000
  dev_count: 100
  test_count: 100
  rationale_count: 4200
model:
  scratch: {hidden_size: 128, layers: 3, heads: 4, intermediate_size: 384, vocab_size: 512, context_length: 256}
sft:
  max_steps: 1000
  learning_rate: 2.0e-3
  batch_size: 16
  micro_batch_size: 16
  scheduler: cosine
  warmup_ratio: 0.1
  weight_decay: 0.1
  adam_beta2: 0.98
  max_length: 256
sample: {n: 8, temperature: 0.7, max_new_tokens: 160, problems: answers_only, chunk_size: 100}
rft: {first_round: skip}
pairs: {problems: answers_only, max_per_problem: 4}
explore: {k: 4, temperature: 0.7, max_new_tokens: 160, chunk_size: 100}
evaluate: {max_new_tokens: 160, chunk_size: 200}
"""


def explored_store() -> StageContext:
    """Stage `explore` of round 1, ready to run; what is missing before it is made now."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    store = Store(FOLDER / "store")
    recipe = FOLDER / "bench.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    open_experiment(store, EXPERIMENT, str(recipe))
    for round_number in (0, 1):
        for stage in stages_of(round_number):
            if stage == "explore":
                return StageContext(store, load_experiment(store, EXPERIMENT), 1, "explore")
            begun = time.monotonic()
            # The last line of a benchmark's output is its rows.
            with redirect_stdout(sys.stderr):
                run_stage(store, EXPERIMENT, stage, round_number=round_number)
            print(f"{stage}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    raise RuntimeError("a round has no stage explore")
