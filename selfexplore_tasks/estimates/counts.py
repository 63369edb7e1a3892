"""How much work a round is, from its recipe alone: the texts and tokens of every stage.

What no recipe tells (how long texts are, how many are right) is guessed here, once; what was measured corrects it by
the ratio of this expectation before and now (`rounds`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfexplore_tasks.pit_search import run_search
from selfexplore_tasks.recipe import (
    ArithmeticSource,
    BenchmarkSource,
    Explore,
    Problems,
    Recipe,
    Rft,
    Source,
    TableSource,
    Training,
)
from selfexplore_tasks.stages.names import stages_of

# Rows of the published files (the data sets' own pages).
BENCHMARK_ROWS = {
    "gsm8k": {"train": 7_473, "test": 1_319},
    "math": {"train": 7_500, "test": 5_000},
    "svamp": {"train": 700, "test": 300},
}
UNKNOWN_ROWS = 7_500
SAMPLED_BYTES = 1 << 16

TEXT_SHARE = 0.3  # length of a drawn text, of what is allowed
EXAMPLE_SHARE, PAIR_SHARE = 0.3, 0.6  # tokens of an example and of a pair (both sequences), of max_length
YIELD_PER_DRAW = 0.05  # different right rationales, and wrong ones with a right partner, that one draw brings
STEPS = 5  # of a wrong rationale; its pit may be any of them
KEPT_PAIRS = 0.9  # explored rationales that become a granular pair


@dataclass(frozen=True)
class Work:
    """Texts drawn, graded or trained on (with repeats), their tokens, and how many models are loaded one by one."""

    items: float
    tokens: float = 0.0
    models: int = 1


@dataclass(frozen=True)
class ProblemCounts:
    """Problems by use: for training, of these with a gold rationale, and those answered in every evaluation."""

    train: int
    solved: int
    answered: int


def expected_counts(problems: Problems) -> ProblemCounts:
    """Return the counts as far as recipe and files tell; nothing is parsed, a long file's rows are estimated."""
    rows = _rows(problems.train)
    cut_test = 0 if problems.test else problems.test_count or problems.dev_count
    train = problems.train_count or max(1, rows - problems.dev_count - cut_test)
    test = cut_test
    if problems.test:
        test = problems.test_count or _rows(problems.test)
    solved = train if problems.rationale_count is None else min(train, problems.rationale_count)
    guards = sum(benchmark.dev_count for benchmark in problems.benchmarks)
    return ProblemCounts(train, solved, problems.dev_count + test + guards)


def work_of_round(recipe: Recipe, round_number: int, counts: ProblemCounts) -> dict[str, Work]:
    """Return the expected work of every stage of a round, in the order of the stages."""
    recipe = recipe.for_round(round_number)
    done = _first_round(recipe, counts) if round_number == 0 else _later_round(recipe, round_number, counts)
    return {stage: done.get(stage, Work(0.0)) for stage in stages_of(round_number)}


def rollouts_per_rationale(explore: Explore) -> float:
    """Rollouts that the search draws for a wrong rationale, over every place of the pit; before it all are right."""

    def drawn(pit: int) -> int:
        _, asked = run_search(STEPS, explore, lambda wanted: wanted.count if wanted.step < pit else 0)
        return sum(wanted.count for wanted in asked)

    return sum(drawn(pit) for pit in range(1, STEPS + 1)) / STEPS


def _first_round(recipe: Recipe, counts: ProblemCounts) -> dict[str, Work]:
    problems = Work(counts.train + counts.answered)
    if recipe.sft is None:
        return {"prepare": problems, "evaluate": _answers(recipe, 0, counts)}
    trained = _training(recipe.sft, counts.solved, EXAMPLE_SHARE)
    return {"prepare": problems, "sft": trained, "evaluate": _answers(recipe, 1, counts)}


def _later_round(recipe: Recipe, round_number: int, counts: ProblemCounts) -> dict[str, Work]:
    n, length = recipe.sample.n, TEXT_SHARE * recipe.sample.max_new_tokens
    unsolved = counts.train - counts.solved
    sampled = min(
        unsolved if recipe.sample.problems == "answers_only" else counts.train,
        recipe.sample.problems_per_round or counts.train,
    )
    has_rft = trains_rft(recipe.rft, round_number)
    paired, drawn = min(sampled, unsolved) if recipe.pairs.problems == "answers_only" else sampled, 0.0
    if recipe.pairs.rationales_from == "explorer" and has_rft:
        paired = min(paired, recipe.pairs.explorer_problem_count or paired)
        drawn = paired * n
    new = sampled * min(recipe.rft.max_per_problem, YIELD_PER_DRAW * n)
    rounds = round_number if recipe.rft.data == "accumulated" else 1
    right = min(rounds * new, counts.train * recipe.rft.max_per_problem)
    examples = right + (counts.solved if recipe.sft else 0)
    wrong = paired * min(recipe.pairs.max_per_problem, YIELD_PER_DRAW * n)
    rollouts = wrong * rollouts_per_rationale(recipe.explore)
    dpo = _training(recipe.dpo, KEPT_PAIRS * wrong, PAIR_SHARE)
    return {
        "sample": Work(sampled * n, sampled * n * length),
        "rft_set": Work(sampled * n * rounds),
        "rft": _training(_settings(recipe.rft, round_number), examples if has_rft else 0, EXAMPLE_SHARE),
        "sample_explorer": Work(drawn, drawn * length),
        "outcome_pairs": Work(drawn or sampled * n),
        # A rollout goes on from the middle of a text.
        "explore": Work(rollouts, rollouts * TEXT_SHARE * recipe.explore.max_new_tokens / 2),
        "granular_pairs": Work(rollouts),
        "dpo": dpo,
        "arms": _arms(recipe, dpo),
        "evaluate": _answers(recipe, models_of_round(recipe, round_number), counts),
    }


def models_of_round(recipe: Recipe, round_number: int) -> int:
    """Models that a later round trains: RFT's unless it is skipped, the policy and the arms."""
    return trains_rft(recipe.rft, round_number) + 1 + 2 * recipe.compare


def trains_rft(rft: Rft, round_number: int) -> bool:
    """Whether the round trains a model on its RFT set."""
    return (rft.first_round if round_number == 1 else rft.later_rounds) != "skip"


def _settings(rft: Rft, round_number: int) -> Rft:
    later = rft.later_epochs if round_number > 1 else None
    return rft if later is None else rft.model_copy(update={"epochs": later})


def _training(settings: Training, examples: float, share: float) -> Work:
    seen = settings.epochs * examples
    if settings.max_steps is not None and examples:
        seen = settings.max_steps * settings.batch_size
    return Work(seen, seen * share * settings.max_length)


def _arms(recipe: Recipe, dpo: Work) -> Work:
    """Two models, trained for as many steps as DPO: on pairs of whole rationales, and on the RFT set."""
    if not recipe.compare:
        return Work(0.0)
    pairs, examples = dpo.items, dpo.items / recipe.dpo.batch_size * recipe.rft.batch_size
    example = EXAMPLE_SHARE * recipe.rft.max_length
    return Work(pairs + examples, (2 * pairs + examples) * example, models=2)


def _answers(recipe: Recipe, models: int, counts: ProblemCounts) -> Work:
    answers = models * counts.answered
    return Work(answers, answers * TEXT_SHARE * recipe.evaluate.max_new_tokens, models)


def _rows(source: Source) -> int:
    if isinstance(source, ArithmeticSource):
        return source.count
    if isinstance(source, BenchmarkSource):
        return BENCHMARK_ROWS[source.kind][source.split]
    return _file_rows(source)


def _file_rows(source: TableSource) -> int:
    path = Path(source.path).expanduser()
    if source.kind != "file" or not path.is_file():
        return UNKNOWN_ROWS
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return int(pq.read_metadata(path).num_rows)
        except (OSError, pa.ArrowInvalid):
            return UNKNOWN_ROWS
    with path.open("rb") as file:
        start = file.read(SAMPLED_BYTES)
    return round(start.count(b"\n") * path.stat().st_size / max(1, len(start)))
