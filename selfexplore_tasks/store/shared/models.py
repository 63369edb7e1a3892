"""Models of a shared store: files under a fresh name, and a pointer that makes them a model.

The working copy has a model only where somebody asked for it. A folder says in `CONTENT` which files of the store it is
a copy of, so one that was trained anew elsewhere is fetched anew.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.store.files import remove_file, sync, write_json
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.keys import MODELS
from selfexplore_tasks.store.shared.parallel import in_parallel
from selfexplore_tasks.store.shared.working_copy import WorkingCopy

CONTENT = ".shared"


def share_model(finished: Path, output_dir: Path, fingerprint: str) -> None:
    """Put a finished model folder before it takes the place ``output_dir``; nothing to do in a local store.

    Where another machine has put the model of the same training run, ``finished`` becomes that one.
    """
    copy = shared_copy(output_dir)
    if copy is None:
        return
    pointer = _pointer(copy.root, output_dir)
    copy.pull_file(pointer)
    known = _read(pointer)
    if known is not None and known["fingerprint"] == fingerprint:
        shutil.rmtree(finished)
        _download(copy, known["folder"], finished)
        return
    folder = _upload(copy, finished, output_dir)
    if known is not None:  # of another run, e.g. of an older version of the program
        remove_file(pointer)
    write_json(pointer, {"folder": folder, "fingerprint": fingerprint}, once=True)
    won = _read(pointer)
    if won is not None and won["folder"] != folder:
        copy.remote.remove(copy.remote.list(folder))
        shutil.rmtree(finished)
        _download(copy, won["folder"], finished)
        return
    (finished / CONTENT).write_text(folder, encoding="utf-8")


def put_model(source: Path, output_dir: Path, fingerprint: str) -> None:
    """Give a shared store the model of another store, under the name ``output_dir``, unless it has it already.

    Raises UserError where it has one of another training run.
    """
    copy = shared_copy(output_dir)
    if copy is None:
        return
    pointer = _pointer(copy.root, output_dir)
    if not pointer.exists():
        folder = _upload(copy, source, output_dir)
        write_json(pointer, {"folder": folder, "fingerprint": fingerprint}, once=True)
    known = _read(pointer)
    if known is not None and known["fingerprint"] != fingerprint:
        raise UserError(f"{copy.remote.url} has another model {output_dir.relative_to(copy.root / MODELS)}.")


def _upload(copy: WorkingCopy, source: Path, output_dir: Path) -> str:
    """Put the files of a model under a fresh name; returns it."""
    folder = _fresh(copy, output_dir)
    files = [path for path in source.rglob("*") if path.is_file()]
    in_parallel(lambda path: copy.remote.upload(f"{folder}/{path.relative_to(source).as_posix()}", path), files)
    return folder


def model_folder(store: Store, slug: str, model_id: str) -> Path:
    """The folder of a model, fetched from a shared store where this machine lacks it; it need not exist."""
    folder = store.model_dir(slug, model_id)
    copy = shared_copy(folder)
    pointer = None if copy is None else _read(_pointer(copy.root, folder))
    if copy is None or pointer is None or _content(folder) == pointer["folder"]:
        return folder
    with _fetching(store, slug):
        if _content(folder) != pointer["folder"]:
            print(f"fetching model {model_id} of {slug}", flush=True)
            fetched = folder.with_name(f"{folder.name}.fetched")
            shutil.rmtree(fetched, ignore_errors=True)
            _download(copy, pointer["folder"], fetched)
            shutil.rmtree(folder, ignore_errors=True)
            fetched.rename(folder)
    return folder


def has_model(store: Store, slug: str, model_id: str) -> bool:
    """Whether the store has the model, on this machine or not."""
    folder = store.model_dir(slug, model_id)
    return folder.is_dir() if shared_copy(folder) is None else _pointer(store.root, folder).exists()


def forget_model(folder: Path) -> None:
    """Remove a model from the object store, first of all its pointer; the folder here is the caller's to remove."""
    copy = shared_copy(folder)
    if copy is not None:
        remove_file(_pointer(copy.root, folder))
        copy.remove_folder(folder)


def model_names(store: Store, slug: str, round_number: int) -> list[str]:
    """Names of the round's models, on this machine or not."""
    folder = store.model_dir(slug, f"{round_number}/any").parent
    if shared_copy(folder) is None:
        # A name with a dot is a training run's own folder, not a model's.
        return sorted(path.name for path in folder.glob("[!.]*") if "." not in path.name)
    return sorted(path.stem for path in _pointer(store.root, folder / "any").parent.glob("*.json"))


def copy_models(store: Store, slug: str, round_number: int, new_slug: str) -> None:
    """Give another experiment of the shared store the round's models, without bringing them here."""
    for name in model_names(store, slug, round_number):
        source, target = (store.model_dir(one, f"{round_number}/{name}") for one in (slug, new_slug))
        copy, known = shared_copy(source), _read(_pointer(store.root, source))
        if copy is not None and known is not None:
            folder = _fresh(copy, target)
            in_parallel(partial(_copy, copy, known["folder"], folder), copy.remote.list(known["folder"]))
            write_json(_pointer(store.root, target), {**known, "folder": folder}, once=True)


def _copy(copy: WorkingCopy, folder: str, new_folder: str, key: str) -> None:
    copy.remote.copy(key, f"{new_folder}/{key.removeprefix(f'{folder}/')}")


def _fresh(copy: WorkingCopy, folder: Path) -> str:
    """A key below which nobody has put anything yet."""
    return f"{folder.relative_to(copy.root).as_posix()}/{uuid.uuid4().hex[:12]}"


def _pointer(root: Path, folder: Path) -> Path:
    relative = folder.relative_to(root / MODELS)
    return root / "pointers" / relative.with_name(f"{relative.name}.json")


def _read(pointer: Path) -> dict[str, str] | None:
    try:
        content: dict[str, str] = json.loads(pointer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def _content(folder: Path) -> str | None:
    try:
        return (folder / CONTENT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _download(copy: WorkingCopy, folder: str, target: Path) -> None:
    keys = list(copy.remote.list(folder))
    if not keys:
        raise UserError(f"Model {folder} was removed from the store meanwhile: run the stage again.")
    paths = {key: target / key.removeprefix(f"{folder}/") for key in keys}
    for parent in {path.parent for path in paths.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    if not all(in_parallel(lambda key: copy.remote.download(key, paths[key]), keys)):
        raise UserError(f"Model {folder} was removed from the store meanwhile: run the stage again.")
    (target / CONTENT).write_text(folder, encoding="utf-8")
    for path in (*paths.values(), target / CONTENT):
        sync(path)


@contextmanager
def _fetching(store: Store, slug: str) -> Iterator[None]:
    """Let one process of this machine fetch a model at a time."""
    store.lock_dir(slug).mkdir(parents=True, exist_ok=True)
    with (store.lock_dir(slug) / "fetching").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
