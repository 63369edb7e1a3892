"""How many tokens does finding first pits take, and how long, with what saves either?

    python tests/benchmarks/bench_explore.py --sizes 1 --seed 0

Tokens: the same wrong rationales are explored with k = 4 at every step (the paper's way, each rationale on its own),
adaptively, by the binary searches, and with `explore.fit_tokens`, by the transformers engine, whose draws are the same
whatever the setting: the adaptive pits must equal the paper's. How far other pits agree with the paper's is to be read
beside how far the paper's own agree with those of a second seed. Seconds: chunks as one stream against the waves that
were there before (all rationales of a chunk draw, then all are graded, then they draw again), by vLLM where it runs.
The model is a tiny one (see explored_store).
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from explored_store import explored_store
from rows import Row, print_rows
from selfexplore_tasks.drawing import Job
from selfexplore_tasks.engines.protocol import Engine
from selfexplore_tasks.engines.select import choose_engine, open_engine
from selfexplore_tasks.exploration import Exploration, Explorer, Rollout, WrongRationale
from selfexplore_tasks.grading import Grader, GradeRequest
from selfexplore_tasks.pit_search import search_pit
from selfexplore_tasks.recipe import Engine as EngineSettings
from selfexplore_tasks.recipe import Explore
from selfexplore_tasks.stages.chunks import Rows, draw_chunks
from selfexplore_tasks.stages.context import StageContext
from selfexplore_tasks.stages.explore import fitted_limit, rollout_rows
from selfexplore_tasks.stages.generation import open_grader
from selfexplore_tasks.steps import explorable_steps
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.parts import to_table, write_part

PART = "exploration"
RATIONALES = 60  # at size 1x
STEPS = range(6, 9)
CHUNK = 32
REPEATS = 2


def main() -> None:
    options = _options()
    context = explored_store()
    wrong = all_wrong(context)
    rows: list[Row] = []
    for size in options.sizes:
        chosen = _choose(wrong, size)
        rows += token_rows(context, chosen, f"{size}x", options.seed)
        rows.append(stream_row(context, chosen, f"{size}x", options.seed))
    print_rows(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1], help=f"times {RATIONALES} rationales")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def all_wrong(context: StageContext) -> list[WrongRationale]:
    """Every wrong rationale of round 1, also those that found no partner for an outcome pair."""
    rows = context.query(
        "select rationale_id, problem_id, question, gold_answer, text from rationales "
        "inner join stg_problems using (experiment, problem_id) "
        "where experiment = $experiment and rationales.round = $round and verdict = 'wrong' order by rationale_id"
    )
    steps, phrase = context.recipe.steps, context.recipe.prompt.answer_phrase
    return [
        WrongRationale(
            **row,
            steps=tuple(explorable_steps(text, steps.style, answer_phrase=phrase, max_steps=steps.max_steps)),
        )
        for row in rows
        for text in [row.pop("text")]
    ]


def _choose(wrong: Sequence[WrongRationale], size: int) -> list[WrongRationale]:
    """Long ones: where a rationale has two steps there is nothing to save."""
    found = [one for one in wrong if len(one.steps) in STEPS][: size * RATIONALES]
    if len(found) < size * RATIONALES:
        sys.exit(f"the store has {len(found)} rationales of {STEPS} steps, size {size} needs {size * RATIONALES}")
    return found


def token_rows(context: StageContext, rationales: Sequence[WrongRationale], size: str, seed: int) -> list[Row]:
    """Explore the same rationales in every way; exits where the adaptive pits are not the paper's."""
    found = _explore_in_every_way(context, rationales, size, seed)
    if not _pits(found["adaptive"]) == _pits(found["lean"]) == _pits(found["plain"]):
        sys.exit("adaptive drawing changed the first pits")
    paper = sum(_tokens(one.rollouts) for one in found["plain"])
    alone = sum(_tokens(one.rollouts) for one in found["adaptive"])
    paid = {name: _paid(one) for name, one in found.items()}
    agree = {name: f", first pits agree in {_agreement(one, found['plain']):.1%}" for name, one in found.items()}
    cut = f", {_cut_share(found['fitted']):.1%} cut off at {fitted_limit(context)}, pits agree in "
    cut += f"{_agreement(found['fitted'], found['lean']):.1%}; without: {_cut_share(found['lean']):.1%} cut off"

    def row(what: str, ours: int, note: str, goal: float | None = None, reference: int = paper) -> Row:
        ratio = ours / reference
        texts = (f"{ours:,} tokens{note}", f"{reference:,} tokens")
        is_met = None if goal is None else ratio <= goal
        return Row(PART, what, size, *texts, ratio, "" if goal is None else f"<= {goal}", is_met, _memory())

    return [
        row("same first steps once, against k = 4 linear", paid["plain"], ", equal pits"),
        row("adaptive alone, against k = 4 linear", alone, ", equal pits", 0.8),
        row("adaptive and same steps once, against k = 4 linear", paid["adaptive"], ", equal pits"),
        row("the same without top_up, against k = 4 linear", paid["lean"], ", equal pits"),
        row("the same with binary, against k = 4 linear", paid["binary"], agree["binary"]),
        row("the same with noisy_binary, against k = 4 linear", paid["noisy_binary"], agree["noisy_binary"], 0.5),
        row("step by step with a second seed, against k = 4 linear", paid["reseeded"], agree["reseeded"]),
        row("fit_tokens, against the fixed limit", paid["fitted"], cut, reference=paid["lean"]),
    ]


def _explore_in_every_way(
    context: StageContext, rationales: Sequence[WrongRationale], size: str, seed: int
) -> dict[str, list[Exploration]]:
    plain = context.recipe.explore.model_copy(update={"adaptive": False, "search": "linear", "confirm": False})
    adaptive = plain.model_copy(update={"adaptive": True})
    lean = adaptive.model_copy(update={"top_up": False})
    settings = {
        "plain": plain,
        "adaptive": adaptive,
        "lean": lean,
        "binary": lean.model_copy(update={"search": "binary"}),
        "noisy_binary": lean.model_copy(update={"search": "noisy_binary"}),
        "reseeded": lean,
        "fitted": lean.model_copy(update={"max_new_tokens": fitted_limit(context)}),
    }
    engine = _engine(context, "transformers")
    found: dict[str, list[Exploration]] = {}
    with open_grader(context) as grader:
        for name, one in settings.items():
            begun = time.monotonic()
            explorer = _explorer(context, engine, grader, one, seed + (name == "reseeded"))
            found[name] = explorer.explore(rationales, lambda _: None)
            _say(f"{size}, {name}: {_paid(found[name]):,} tokens, {time.monotonic() - begun:.0f} s")
    engine.close()
    return found


def stream_row(context: StageContext, rationales: Sequence[WrongRationale], size: str, seed: int) -> Row:
    """The stage's stream against waves: the same chunks, graded and written, on an engine that is loaded."""
    kind = choose_engine("auto")[0]
    engine = _engine(context, kind)
    settings = context.recipe.explore.model_copy(update={"adaptive": True})
    seconds: dict[str, list[float]] = {"stream": [], "waves": []}
    found: dict[str, dict[str, int | None]] = {}
    ways: dict[str, Callable[[Explorer, StageContext, Sequence[WrongRationale]], dict[str, int | None]]]
    ways = {"waves": explore_in_waves, "stream": explore_as_stream}
    with open_grader(context) as grader:
        explorer = _explorer(context, engine, grader, settings, seed)
        explorer.explore(rationales[:CHUNK], lambda _: None)  # the first steps of a process are slow
        for _ in range(REPEATS):
            for way, explore in ways.items():
                with tempfile.TemporaryDirectory() as folder:
                    scratch = _scratch(context, Path(folder))
                    begun = time.monotonic()
                    found[way] = explore(explorer, scratch, rationales)
                    seconds[way].append(time.monotonic() - begun)
                _say(f"{size}, {way}: {seconds[way][-1]:.1f} s")
    cache = engine.prefix_cache
    engine.close()
    same = sum(found["stream"][name] == pit for name, pit in found["waves"].items()) / len(rationales)
    ours, waves = min(seconds["stream"]), min(seconds["waves"])
    hits = "" if cache is None else f", prefix cache hits {cache.hit_rate:.1%}"
    note = f"{ours:.1f} s ({kind}{hits}, pits agree in {same:.1%})"
    what = f"one stream against waves, chunks of {CHUNK}, adaptive"
    return Row(PART, what, size, note, f"{waves:.1f} s", waves / ours, "", None, _memory())


def explore_as_stream(
    explorer: Explorer, context: StageContext, rationales: Sequence[WrongRationale]
) -> dict[str, int | None]:
    """As stage explore does it."""
    pits: dict[str, int | None] = {}

    def job(rationale: WrongRationale) -> Job[Rows]:
        found = yield from explorer.job(rationale)
        pits[rationale.rationale_id] = found.first_pit_step
        return rollout_rows(found, "bench")

    with redirect_stdout(sys.stderr):
        draw_chunks(
            context,
            "rollouts",
            rationales,
            job,
            engine=explorer.engine,
            grader=explorer.grader,
            chunk_size=CHUNK,
            unit="rationales",
            label="stream",
        )
    return pits


def explore_in_waves(
    explorer: Explorer, context: StageContext, rationales: Sequence[WrongRationale]
) -> dict[str, int | None]:
    """The reference: chunk by chunk, all searches draw, all draws are graded, and again; then the chunk is written."""
    pits: dict[str, int | None] = {}
    for number, start in enumerate(range(0, len(rationales), CHUNK)):
        found = _wave_chunk(explorer, rationales[start : start + CHUNK])
        rows = [row for one in found for row in rollout_rows(one, "bench")]
        path = context.part_path("rollouts", number)
        write_part(path, to_table("rollouts", rows), recipe_hash=context.recipe_hash, seconds=0.0)
        pits |= {one.rationale.rationale_id: one.first_pit_step for one in found}
    return pits


def _wave_chunk(explorer: Explorer, rationales: Sequence[WrongRationale]) -> list[Exploration]:
    results = [Exploration(rationale, []) for rationale in rationales]
    searches = [search_pit(len(rationale.steps), explorer.settings) for rationale in rationales]
    replies: dict[int, int | None] = dict.fromkeys(range(len(rationales)))
    while replies:
        wanted = {}
        for place, reply in replies.items():
            try:
                wanted[place] = searches[place].send(reply)  # type: ignore[arg-type]
            except StopIteration as end:
                results[place] = replace(results[place], first_pit_step=end.value)
        requests = [explorer.request(rationales[place], draws) for place, draws in wanted.items()]
        drawn = explorer.engine.generate(requests)
        asked = [
            GradeRequest(done.text, rationales[place].gold_answer, done.finish_reason)
            for place, some in zip(wanted, drawn, strict=True)
            for done in some
        ]
        grades = iter(explorer.grader.grade(asked))
        replies = {}
        for (place, draws), some in zip(wanted.items(), drawn, strict=True):
            graded = [
                Rollout(draws.step, index, done, next(grades))
                for index, done in enumerate(some, start=draws.first_index)
            ]
            results[place].rollouts.extend(graded)
            replies[place] = sum(one.grade.is_correct_strict for one in graded)
    return results


def _explorer(context: StageContext, engine: Engine, grader: Grader, settings: Explore, seed: int) -> Explorer:
    prompts = context.prompts(context.explorer_id)
    return Explorer(engine, prompts, grader, settings, context.recipe.prompt.stop, seed)


def _engine(context: StageContext, kind: str) -> Engine:
    return open_engine(
        EngineSettings.model_validate({"kind": kind, "threads": 1}),
        context.model_path(context.explorer_id),
        dtype=context.recipe.model.dtype,
        context_length=context.recipe.model.context_length,
        seed=0,
        log=_say,
    )


def _scratch(context: StageContext, folder: Path) -> StageContext:
    """The same stage in an empty store."""
    shutil.copytree(context.store.root / "experiments", folder / "experiments")
    return replace(context, store=Store(folder))


def _tokens(rollouts: Sequence[Rollout]) -> int:
    return sum(len(one.completion.token_ids) for one in rollouts)


def _paid(found: Sequence[Exploration]) -> int:
    """Tokens generated, where rationales with the same first steps share their rollouts."""
    draws = {
        (one.rationale.problem_id, one.rationale.prefix(rollout.step), rollout.index): rollout
        for one in found
        for rollout in one.rollouts
    }
    return _tokens(list(draws.values()))


def _pits(found: Sequence[Exploration]) -> list[int | None]:
    return [one.first_pit_step for one in found]


def _agreement(found: Sequence[Exploration], others: Sequence[Exploration]) -> float:
    return sum(a == b for a, b in zip(_pits(found), _pits(others), strict=True)) / len(found)


def _cut_share(found: Sequence[Exploration]) -> float:
    reasons = [rollout.completion.finish_reason for one in found for rollout in one.rollouts]
    return reasons.count("length") / len(reasons)


def _memory() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
