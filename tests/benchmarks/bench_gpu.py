"""vLLM's throughput and DPO's samples a second on a GPU, and the TFLOP/s of both against the card's limit.

For the recipes of 135 M and 0.5 B parameters; where there is no GPU, or a model is not there, a row says so.

    python tests/benchmarks/bench_gpu.py --recipes gsm8k-smollm2-135m
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench_table import gpu_names
from bench_training import LIMITS
from rows import Row, print_rows
from selfexplore_tasks.recipe import Engine
from selfexplore_tasks.recipe_files import load_recipe

RECIPES = ("gsm8k-smollm2-135m", "gsm8k-qwen2.5-0.5b")
PART = "GPU"
PROMPTS, SAMPLES, NEW_TOKENS = 256, 8, 256
TRAINED = re.compile(r"ours on .*: ([\d.]+) useful TFLOP/s")
TIMEOUT_S = 900


def main() -> int:
    """Return 1 where a measurement that could begin did not end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), help="recipes whose base model is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--generate", metavar="RECIPE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        print(json.dumps(generate(options.generate, options.seed)))
        return 0
    cards = gpu_names()
    if not cards:
        print_rows([_row("vLLM and DPO", "", "skipped: no GPU here; never run on one")])
        return 0
    rows = [row for recipe in options.recipes for row in (_generation(recipe, options.seed, cards), _training(recipe))]
    print_rows(rows)
    return int(any(row.is_met is False for row in rows))


def generate(recipe_name: str, seed: int) -> dict[str, float]:
    """Tokens a second of vLLM over prompts of generated problems, and the weights of the model."""
    from transformers import AutoModelForCausalLM

    from selfexplore_tasks.engines.protocol import GenerationRequest
    from selfexplore_tasks.engines.select import open_engine
    from selfexplore_tasks.problems.arithmetic import generate as generate_problems
    from selfexplore_tasks.prompts import PromptFormat
    from selfexplore_tasks.training.base_model import make_base_model

    recipe = load_recipe(recipe_name)
    problems = generate_problems(PROMPTS, seed=seed, min_steps=4, max_steps=8)
    with tempfile.TemporaryDirectory() as folder:
        model_dir = make_base_model(
            recipe.model, Path(folder) / "base", texts=[one.gold_rationale for one in problems], seed=seed
        )
        prompts = PromptFormat(recipe.prompt, model_dir)
        requests = [
            GenerationRequest(
                tuple(prompts.prompt_ids(problem.question)),
                n=SAMPLES,
                temperature=0.7,
                top_p=1.0,
                max_new_tokens=NEW_TOKENS,
                stop=(),
                seed=number,
            )
            for number, problem in enumerate(problems)
        ]
        engine = open_engine(
            Engine(kind="vllm"),
            model_dir,
            dtype="bfloat16",
            context_length=recipe.model.context_length,
            seed=seed,
            log=lambda text: print(text, file=sys.stderr),
        )
        try:
            engine.generate(requests[:8])
            started = time.perf_counter()
            drawn = engine.generate(requests)
            seconds = time.perf_counter() - started
        finally:
            engine.close()
        weights = sum(one.numel() for one in AutoModelForCausalLM.from_pretrained(model_dir).parameters())
    tokens = sum(len(one.token_ids) for completions in drawn for one in completions)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"tokens_per_second": tokens / seconds, "weights": weights, "memory_mib": memory}


def _generation(recipe: str, seed: int, cards: Sequence[str]) -> Row:
    what = f"vLLM, {recipe}, bfloat16, {PROMPTS} prompts x {SAMPLES}"
    done = _run([__file__, "--generate", recipe, "--seed", str(seed)])
    if done.returncode:
        return _row(what, recipe, f"failed: {_last(done.stderr)}", is_met=False)
    measured = json.loads(done.stdout.splitlines()[-1])
    speed = measured["tokens_per_second"]
    return _of_limit(what, f"{speed:,.0f} tokens/s", 2 * measured["weights"] * speed / 1e12, cards[0], measured)


def _training(recipe: str) -> Row:
    what = f"DPO, {recipe}, bfloat16, 3 epochs"
    program = Path(__file__).with_name("bench_training.py")
    done = _run([str(program), "--models", recipe, "--precision", "bfloat16", "--sizes", "4"])
    found = TRAINED.search(done.stderr)
    if done.returncode or found is None:
        return _row(what, recipe, f"failed: {_last(done.stderr)}", is_met=False)
    measured = json.loads(done.stdout.splitlines()[-1])[-1]
    return _of_limit(what, measured["ours"], float(found.group(1)), done.stderr, measured)


def _of_limit(what: str, ours: str, tflops: float, card: str, measured: dict[str, float]) -> Row:
    """A row whose ratio is the share of the card's dense bfloat16 limit; no ratio for a card that is not listed."""
    limit = next((tflops_limit for name, tflops_limit in LIMITS.items() if name in card), None)
    reference = f"{limit} TFLOP/s (the card)" if limit else "limit not known"
    return Row(
        part=PART,
        what=what,
        size="1x",
        ours=f"{ours}, {tflops:.1f} TFLOP/s",
        reference=reference,
        ratio=round(tflops / limit, 4) if limit else None,
        goal="",
        is_met=None,
        memory_mib=round(measured["memory_mib"]),
    )


def _row(what: str, size: str, ours: str, *, is_met: bool | None = None) -> Row:
    return Row(part=PART, what=what, size=size, ours=ours, reference="", ratio=None, goal="", is_met=is_met)


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"ended after {TIMEOUT_S} s")


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no output"])[-1][:150]


if __name__ == "__main__":
    sys.exit(main())
