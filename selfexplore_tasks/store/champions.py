"""The champion of an experiment: one at any time, with the history of who chose it and why.

The history is read from what exists already: the summaries of the rounds (the gate's promotions) and a small file of
choices made by hand. Nothing has to be kept in step with anything else, so a kill between two writes loses nothing; the
link ``models/<slug>/champion`` is made from the history and can be made again at any time.

A choice by hand belongs to the round that is under way, or to the last finished one, and holds from the next round on.
A round that has begun keeps the champion it began with: its models were trained from that one and are compared with
it. At its end the round does not overrule the person (`manual_choice`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from selfexplore_tasks.engines.common import missing_part
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.files import temporary_beside, write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import live_stages
from selfexplore_tasks.store.manifests import read_manifest, read_manifests
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.models import has_model, model_folder

GATE = "gate"


@dataclass(frozen=True)
class ChampionEntry:
    """``model_id`` is the champion from the end of ``round`` on; ``who`` is `gate` or a person; ``at`` an ISO time.

    ``during_round``: a person chose it before the round's end, whose gate must not overrule that.
    """

    model_id: str
    round: int
    at: str
    who: str
    why: str
    during_round: bool = False


def champion_history(store: Store, slug: str) -> list[ChampionEntry]:
    """Every champion, in the order in which they took effect; empty before round 0 is finished."""
    entries = [
        ChampionEntry(
            str(manifest.notes["champion"]),
            manifest.round,
            manifest.finished_at,
            GATE,
            str(manifest.notes.get("decision_reason", "better on dev" if manifest.round else "the first model")),
        )
        for manifest in read_manifests(store, slug)
        if manifest.stage == "summarize" and manifest.notes["promoted"]
    ]
    return sorted([*entries, *_manual(store, slug)], key=lambda entry: (entry.round, entry.at))


def champion(store: Store, slug: str) -> ChampionEntry:
    """The champion now; raises UserError before round 0 is finished."""
    history = champion_history(store, slug)
    if not history:
        raise UserError(f"Experiment {slug!r} has no champion yet: round 0 is not finished.")
    return history[-1]


def champion_before(store: Store, slug: str, round_number: int) -> str:
    """Model id of the champion a round starts from; raises UserError while the round before is not finished."""
    if read_manifest(store, slug, round_number - 1, "summarize") is None:
        raise UserError(f"Round {round_number} of {slug!r} cannot start: round {round_number - 1} is not finished.")
    return [entry.model_id for entry in champion_history(store, slug) if entry.round < round_number][-1]


def manual_choice(store: Store, slug: str, round_number: int) -> ChampionEntry | None:
    """What a person chose while this round was under way, if anything; a choice after its end is none of its own."""
    chosen = [entry for entry in _manual(store, slug) if entry.round == round_number and entry.during_round]
    return chosen[-1] if chosen else None


def set_champion(store: Store, slug: str, model_id: str, *, who: str, why: str) -> ChampionEntry:
    """Choose a champion by hand; raises UserError for a model that cannot be loaded or was never measured on dev."""
    current = champion(store, slug)
    if model_id == current.model_id:
        raise UserError(f"{model_id} is the champion of {slug!r} already.")
    model_folder(store, slug, model_id)
    path = champion_path(store, slug, model_id)
    missing = missing_part(path)
    if missing is not None:
        raise UserError(f"Model {model_id} of {slug!r} has no {missing} in {path}: it was pruned or never trained.")
    measured = [
        model for one in read_manifests(store, slug) if one.stage == "evaluate" for model in one.notes["models"]
    ]
    if model_id not in measured:
        raise UserError(f"Model {model_id} of {slug!r} was never evaluated on dev (choose from {', '.join(measured)}).")
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    begun = _last_begun(store, slug)
    entry = ChampionEntry(model_id, begun, at, who, why, read_manifest(store, slug, begun, "summarize") is None)
    _write_manual(store, slug, [*_manual(store, slug), entry])
    refresh_link(store, slug)
    return entry


def rollback(store: Store, slug: str, *, who: str, why: str) -> ChampionEntry:
    """Go back to the champion before the current one; raises UserError if there was none.

    Before means before it first was one, so that going back twice leads two champions back.
    """
    current = champion(store, slug).model_id
    models = [entry.model_id for entry in champion_history(store, slug)]
    first = models.index(current)
    if first == 0:
        raise UserError(f"Experiment {slug!r} had no champion before {current}.")
    return set_champion(store, slug, models[first - 1], who=who, why=why)


def champion_path(store: Store, slug: str, model_id: str) -> Path:
    """Folder of a model; a base model that the recipe named stays where it is."""
    path = store.model_dir(slug, model_id)
    prepared = read_manifest(store, slug, 0, "prepare")
    if model_id == "0/base" and not has_model(store, slug, model_id) and prepared is not None:
        return Path(prepared.notes["base_model"])
    return path


def refresh_link(store: Store, slug: str) -> Path:
    """Point ``models/<slug>/champion`` to the champion's folder, and put a model card into it; returns the link.

    A base model outside the store gets no card: its folder is not ours. Nor does a model of a shared store that this
    machine has not fetched (`shared.models.model_folder`).
    """
    from selfexplore_tasks.champion_card import write_card

    link = link_champion(store, slug)
    if not link.readlink().is_absolute() and link.exists():
        write_card(store, slug, champion(store, slug).model_id, link)
    return link


def fetch_champion(store: Store, slug: str) -> None:
    """Let the champion's link lead to a folder that is on this machine; nothing to do in a local store."""
    if shared_copy(store.root) is not None:
        model_folder(store, slug, champion(store, slug).model_id)
        refresh_link(store, slug)


def link_champion(store: Store, slug: str) -> Path:
    """Replace the link in one step; relative within the store, so that a store can be moved."""
    target, link = champion_path(store, slug, champion(store, slug).model_id), store.champion_link(slug)
    is_ours = target.is_relative_to(link.parent)
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(link)
    temporary.symlink_to(target.relative_to(link.parent) if is_ours else target, target_is_directory=True)
    if link.is_dir() and not link.is_symlink():
        # A tool that follows links has copied the store: what stands here is a copy of some champion.
        shutil.rmtree(link)
    temporary.replace(link)
    return link


def _last_begun(store: Store, slug: str) -> int:
    """The last round that has begun: a stage is done or at work, or left chunks behind; it may be finished."""
    tables = (store.root / "tables").glob(f"*/experiment={slug}/round=*")
    begun = [int(path.name.removeprefix("round=")) for path in tables if any(path.glob("part-*.parquet"))]
    copy = shared_copy(store.root)
    if copy is not None:
        begun += copy.begun_rounds(slug)
    live = [int(name.partition("-")[0]) for name in live_stages(store, slug)]
    return max([*begun, *live, *(manifest.round for manifest in read_manifests(store, slug))])


def copy_choices(store: Store, slug: str, new_slug: str, *, up_to: int) -> None:
    """Give a fork the choices by hand that belong to its rounds."""
    chosen = [entry for entry in _manual(store, slug) if entry.round <= up_to]
    if chosen:
        _write_manual(store, new_slug, chosen)


def _manual(store: Store, slug: str) -> list[ChampionEntry]:
    path = store.champion_file(slug)
    if not path.exists():
        return []
    return [ChampionEntry(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))["chosen"]]


def _write_manual(store: Store, slug: str, entries: Sequence[ChampionEntry]) -> None:
    write_json(store.champion_file(slug), {"chosen": [asdict(entry) for entry in entries]})
