"""Brings the experiments of a store in a folder into one in a bucket.

Models and parts come first, then records and manifests, the file that makes an experiment visible last. What is there
already is left as it is, so a copy that was cut off goes on where it was.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.stages.redo import redo_lock
from selfexplore_tasks.store.champions import champion_history, refresh_link
from selfexplore_tasks.store.experiments import load_experiment
from selfexplore_tasks.store.files import write_atomically
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import stage_lock
from selfexplore_tasks.store.parts import have_parts
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.keys import key_of, visible_order
from selfexplore_tasks.store.shared.models import model_names, put_model
from selfexplore_tasks.store.shared.parallel import in_parallel
from selfexplore_tasks.training.partial import LOG_NAME, read_json


def copy_experiment(source: Store, target: Store, slug: str) -> tuple[int, int]:
    """Copy an experiment from a folder to a bucket; returns how many models and files it has.

    Checkpoints of a training that is under way stay behind: it trains from the start there.

    Raises:
        UserError: no such experiment, a stage of it runs, or there is one of that name with other content.
    """
    if shared_copy(source.root) is not None or shared_copy(target.root) is None:
        raise UserError("A store is copied from a folder to s3://bucket/prefix.")
    load_experiment(source, slug)
    with stage_lock(source, slug, round_number=0, stage="copy", shard=0), redo_lock(source, slug):
        target.refresh(slug)
        files = sorted(_files(source, slug), key=lambda name: visible_order(str(key_of(name))))
        for name in files:
            if (target.root / name).exists():
                _check_same(source, target, slug, name)
        models = list(_models(source, slug))
        for model_id in models:
            folder = source.model_dir(slug, model_id)
            fingerprint = str(read_json(folder / LOG_NAME).get("fingerprint"))
            put_model(folder, target.model_dir(slug, model_id), fingerprint)
        parts = [name for name in files if name.parts[0] == "tables"]
        in_parallel(partial(_put, source, target, slug), parts)
        for name in files[len(parts) :]:
            _put(source, target, slug, name)
    if champion_history(target, slug):
        refresh_link(target, slug)
    return len(models), len(files)


def _files(store: Store, slug: str) -> Iterator[Path]:
    """What a bucket would have of an experiment besides models, relative to the store."""
    folders = [*store.experiment_dirs(slug), store.lock_dir(slug)]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    singles = (store.champion_file(slug), store.control_file(slug), store.experiment_file(slug))
    for path in (*paths, *(path for path in singles if path.exists())):
        name = path.relative_to(store.root)
        if key_of(name) is not None:
            yield name


def _models(store: Store, slug: str) -> Iterator[str]:
    for folder in sorted(store.model_dir(slug, "0/any").parent.parent.glob("round=*")):
        number = int(folder.name.removeprefix("round="))
        yield from (f"{number}/{name}" for name in model_names(store, slug, number))


def _put(source: Store, target: Store, slug: str, name: Path) -> None:
    path = source.root / name
    if not have_parts([target.root / name]):
        write_atomically(target.root / name, partial(_copy_file, path), once=True)
    _check_same(source, target, slug, name)


def _copy_file(path: Path, temporary: Path) -> None:
    shutil.copyfile(path, temporary)


def _check_same(source: Store, target: Store, slug: str, name: Path) -> None:
    if not filecmp.cmp(source.root / name, target.root / name, shallow=False):
        raise UserError(
            f"{target.place} has an experiment {slug!r} with other content ({name}): copy to another prefix."
        )
