"""A store on an S3 server: what one machine does, another one sees. Machines are working copies, and processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from hand_rounds import SLUG, HandRounds
from s3_server import BUCKET, S3Server
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.stages.redo import acknowledge, redo_if_cleared, redo_stage
from selfexplore_tasks.store import control
from selfexplore_tasks.store.champions import champion_history
from selfexplore_tasks.store.experiments import delete_experiment, experiment_names
from selfexplore_tasks.store.files import write_atomically, write_json, write_text
from selfexplore_tasks.store.forks import fork_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import chunk_claim, exclusive_lock, live_stages, stage_lock
from selfexplore_tasks.store.manifests import Manifest, read_manifest, read_manifests, write_manifest
from selfexplore_tasks.store.parts import have_parts, is_done, to_table, write_part
from selfexplore_tasks.store.schemas import TABLES
from selfexplore_tasks.store.shared import shared_copy
from selfexplore_tasks.store.shared.models import has_model, model_folder, put_model, share_model
from selfexplore_tasks.store.shared.remote import Entry, StoreUnreachable

LEASE_S = 3.0
Machine = Callable[[str], Store]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "server.log") as running:
        running.make_bucket(BUCKET)
        yield running


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def machine(server: S3Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """``machine(name)``: the store as a machine of that name has it, with its own working copy."""
    given = {"SELFEXPLORE_HOME": url, "SELFEXPLORE_LEASE_S": str(LEASE_S), "SELFEXPLORE_STORE_TIMEOUT_S": "20"}
    for name, value in {**server.environment, **given}.items():
        monkeypatch.setenv(name, value)

    def open_store(name: str) -> Store:
        monkeypatch.setenv("SELFEXPLORE_CACHE", str(tmp_path / name))
        return Store.opened()

    return open_store


def rationale(number: int, text: str = "x") -> dict[str, object]:
    return {
        **{"rationale_id": f"r{number}", "problem_id": "p", "model_id": "0/sft", "sample_index": number, "text": text},
        **{"answer": "1", "verdict": "wrong", "is_correct_strict": False, "is_correct_flexible": False},
        **{"grade_reason": "number", "is_correct_second": None, "finish_reason": "stop", "token_count": 1},
        **{"logprob_mean": -1.0, "seed": 1},
    }


def put_chunk(store: Store, number: int, text: str) -> Path:
    path = store.table_dir("rationales", SLUG, 1) / f"part-sample-{number:05d}.parquet"
    write_part(path, to_table("rationales", [rationale(number, text)]), recipe_hash="h", seconds=1.0, once=True)
    return path


def _keys(server: S3Server, store: Store) -> list[str]:
    """The keys of a store's objects, relative to it."""
    prefix = f"{store.place.removeprefix(f's3://{BUCKET}/')}/"
    return [key.removeprefix(prefix) for key in server.objects() if key.startswith(prefix)]


def test_another_machine_reads_what_one_wrote(machine: Machine, server: S3Server) -> None:
    hand = HandRounds.begin(machine("a"))
    here, there = hand.store, machine("b")
    assert there.root != here.root and experiment_names(there) == [SLUG]
    assert read_manifests(there, SLUG) == read_manifests(here, SLUG)
    mine, other = (one.rows("from evaluations order by all") for one in (hand, HandRoundsView(there)))
    assert mine == other and len(mine) > 100
    assert champion_history(there, SLUG) == champion_history(here, SLUG)
    # Locks, progress and the views' file are each machine's own.
    assert not [key for key in _keys(server, here) if key.endswith((".lock", ".progress", ".duckdb", "/gate"))]


class HandRoundsView(HandRounds):
    """Reads an experiment that is there already."""

    def __init__(self, store: Store) -> None:
        self.store = store


def test_the_first_of_many_puts_of_a_part_counts_and_all_take_it(machine: Machine) -> None:
    stores = [machine(f"m{number}") for number in range(4)]
    gate = threading.Barrier(4)

    def race(store: Store) -> None:
        gate.wait()
        put_chunk(store, 7, store.root.name)

    threads = [threading.Thread(target=race, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paths = [store.table_dir("rationales", SLUG, 1) / "part-sample-00007.parquet" for store in stores]
    assert len({path.read_bytes() for path in paths}) == 1


def test_the_second_manifest_of_a_stage_gives_way(machine: Machine) -> None:
    hand = HandRounds.begin(machine("a"))
    late = machine("b")
    write_manifest(hand.store, first := _sampled(hand.store, tokens=1), once=True)
    write_manifest(late, _sampled(late, tokens=2), once=True)
    assert read_manifest(late, SLUG, 1, "sample") == first


def _sampled(store: Store, tokens: int) -> Manifest:
    done = read_manifest(store, SLUG, 0, "gate")
    assert done is not None
    return replace(done, round=1, stage="sample", parts={}, row_counts={}, token_count=tokens)


def test_chunks_of_other_machines_are_found_and_fetched(machine: Machine) -> None:
    here, there = machine("a"), machine("b")
    paths = [put_chunk(here if number % 2 else there, number, "x") for number in range(4)]
    own = [there.root / path.relative_to(path.parents[4]) for path in paths]
    assert is_done(own[1], recipe_hash="h") and have_parts(own)
    assert not have_parts([*own, own[0].with_name("part-sample-00009.parquet")])
    with pytest.raises(UserError, match="recipe hash"):
        is_done(own[3], recipe_hash="other")


def test_a_redo_is_seen_by_the_other_machine(machine: Machine, server: S3Server) -> None:
    hand = HandRounds.begin(machine("a"))
    hand.round(1, {})
    hand.finish(1)
    there = machine("b")
    assert (there.table_dir("scores", SLUG, 1) / "part-summarize-00000.parquet").exists()
    redo_stage(there, SLUG, 1, "gate")
    hand.store.refresh()
    left = {one.stage for one in read_manifests(hand.store, SLUG) if one.round == 1}
    assert "evaluate" in left and not left & {"gate", "summarize"}
    assert not [key for key in _keys(server, there) if "round=001/part-summarize" in key]
    again = hand.finish(1)
    there.refresh()
    assert HandRoundsView(there).rows("select * from rounds where round = 1") == [again]


def test_a_cleared_task_is_redone_on_another_machine(machine: Machine) -> None:
    hand = HandRounds.begin(machine("a"))
    acknowledge(hand.store, SLUG, 0, "gate", None, run_id="run", try_number=1)
    there = machine("b")
    assert not redo_if_cleared(there, SLUG, 0, "gate", None, run_id="another", try_number=2)
    assert redo_if_cleared(there, SLUG, 0, "gate", None, run_id="run", try_number=2)
    hand.store.refresh()
    assert read_manifest(hand.store, SLUG, 0, "gate") is None


def test_a_fork_and_a_deletion_are_everywhere(machine: Machine, server: S3Server) -> None:
    hand = HandRounds.begin(machine("a"))
    model = hand.store.model_dir(SLUG, "0/sft")
    _train(model, b"weights", "f")
    there = machine("b")
    fork_experiment(there, SLUG, 0, "twig")
    hand.store.refresh()
    assert {one.experiment for one in read_manifests(hand.store, "twig")} == {"twig"}
    delete_experiment(hand.store, SLUG)
    there.refresh()
    assert experiment_names(there) == ["twig"]
    assert not [key for key in _keys(server, there) if SLUG in key.replace("=", "/").replace(".", "/").split("/")]
    assert (model_folder(there, "twig", "0/sft") / "model.safetensors").read_bytes() == b"weights"


def _train(folder: Path, weights: bytes, fingerprint: str) -> None:
    """What training does with a finished model."""
    finished = folder.with_name(f"{folder.name}.partial")
    (finished / "sub").mkdir(parents=True)
    (finished / "model.safetensors").write_bytes(weights)
    (finished / "sub" / "config.json").write_text("{}", encoding="utf-8")
    share_model(finished, folder, fingerprint)
    shutil.rmtree(folder, ignore_errors=True)
    finished.rename(folder)


def test_a_model_is_used_by_the_machine_that_did_not_train_it(machine: Machine) -> None:
    here, there = machine("a"), machine("b")
    _train(here.model_dir(SLUG, "1/rft"), b"one", "f")
    assert not has_model(there, SLUG, "1/rft")
    there.refresh()
    assert has_model(there, SLUG, "1/rft") and not there.model_dir(SLUG, "1/rft").exists()
    folder = model_folder(there, SLUG, "1/rft")
    assert (folder / "model.safetensors").read_bytes() == b"one" and (folder / "sub" / "config.json").exists()
    # The same run again gives way; another run takes the place.
    _train(there.model_dir(SLUG, "1/rft"), b"two", "f")
    assert (folder / "model.safetensors").read_bytes() == b"one"
    _train(there.model_dir(SLUG, "1/rft"), b"three", "g")
    here.refresh()
    assert (model_folder(here, SLUG, "1/rft") / "model.safetensors").read_bytes() == b"three"


def copy_store(source: Path, target: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfexplore_tasks", "store", "copy", str(source), target, *more]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_store_in_a_folder_is_brought_to_the_bucket(machine: Machine, url: str, tmp_path: Path) -> None:
    hand = HandRounds.begin(Store(tmp_path / "folder"))
    hand.round(1, {})
    for model in ("0/sft", "1/rft"):
        _train(hand.store.model_dir(SLUG, model), b"weights", "f")
    there = machine("there")
    # Cut off: some of it is there, and nobody sees the experiment.
    model = hand.store.model_dir(SLUG, "1/rft")
    put_model(model, there.model_dir(SLUG, "1/rft"), "None")
    part = next((hand.store.root / "tables" / "evaluations").rglob("*.parquet")).relative_to(hand.store.root)
    write_atomically(there.root / part, lambda temporary: shutil.copyfile(hand.store.root / part, temporary))
    os.environ["SELFEXPLORE_CACHE"] += "-copying"
    done = copy_store(hand.store.root, url)
    assert (done.returncode, done.stderr) == (0, "") and "3 models" in done.stdout
    reader = machine("reader")
    assert read_manifests(reader, SLUG) == read_manifests(hand.store, SLUG)
    for table in TABLES:
        assert HandRoundsView(reader).rows(f"from {table} order by all") == hand.rows(f"from {table} order by all")
    assert (model_folder(reader, SLUG, "1/rft") / "model.safetensors").read_bytes() == b"weights"
    again = copy_store(hand.store.root, url, "--experiment", SLUG)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    # The rounds go on there, as they would have here.
    HandRoundsView(reader).finish(1)
    hand.finish(1)
    other = copy_store(hand.store.root, url)
    assert other.returncode == 2 and "with other content" in other.stderr and other.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("folder", "other", "copied from a folder to s3://"),
        ("nothing", "s3://bucket/x", "no experiment in"),
    ],
)
def test_what_cannot_be_copied_is_told(machine: Machine, tmp_path: Path, source: str, target: str, told: str) -> None:
    HandRounds.begin(Store(tmp_path / "folder"))
    done = copy_store(tmp_path / source, target if "://" in target else str(tmp_path / target))
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1


def test_a_file_larger_than_one_request_is_put_once(machine: Machine, tmp_path: Path) -> None:
    copies = [shared_copy(machine(name).root) for name in ("a", "b")]
    versions = []
    for number, copy in enumerate(copies):
        large = tmp_path / f"large-{number}"
        large.write_bytes(bytes([number]) * (33 * 2**20))
        assert copy is not None
        versions.append(copy.remote.upload("large", large, once=True))
    assert versions[0] is not None and versions[1] is None


def test_stages_exclude_each_other_among_machines(machine: Machine) -> None:
    here, there = machine("a"), machine("b")
    with stage_lock(here, SLUG, round_number=1, stage="sample", shard=0):
        assert live_stages(there, SLUG) == ["001-sample-0"]
        with stage_lock(there, SLUG, round_number=1, stage="sample", shard=1):
            pass
        with (
            pytest.raises(UserError, match="001-sample-0 is running now"),
            stage_lock(there, SLUG, round_number=1, stage="rft", shard=0),
        ):
            pass
        with stage_lock(there, SLUG, round_number=0, stage="benchmarks", shard=0):
            pass
    with stage_lock(there, SLUG, round_number=1, stage="rft", shard=0):
        pass


def test_a_lock_is_had_by_one_machine_at_a_time(machine: Machine) -> None:
    stores = [machine(name) for name in ("a", "b", "c")]
    inside, most = 0, 0

    def work(store: Store) -> None:
        nonlocal inside, most
        for _ in range(3):
            with exclusive_lock(store, SLUG, "redo"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.01)
                inside -= 1

    threads = [threading.Thread(target=work, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


HOLD = """
import sys, time
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.store.locks import chunk_claim, stage_lock
store = Store.opened()
with stage_lock(store, "hand", round_number=1, stage="sample", shard=0):
    with chunk_claim(store.lock_dir("hand") / "claims", "1-part") as claimed:
        print(claimed, flush=True)
        time.sleep(600)
"""


def test_what_a_killed_machine_held_becomes_free(machine: Machine, tmp_path: Path) -> None:
    there = machine("b")
    environment = {**os.environ, "SELFEXPLORE_CACHE": str(tmp_path / "a")}
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        # Renewed for longer than a lease holds: it lives.
        time.sleep(1.5 * LEASE_S)
        with (
            pytest.raises(UserError, match="001-sample-0 is running now"),
            stage_lock(there, SLUG, round_number=1, stage="sample", shard=0),
        ):
            pass
        with (
            stage_lock(there, SLUG, round_number=1, stage="sample", shard=1),
            chunk_claim(there.lock_dir(SLUG) / "claims", "1-part") as claimed,
        ):
            assert not claimed
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with (
        stage_lock(there, SLUG, round_number=1, stage="sample", shard=0),
        chunk_claim(there.lock_dir(SLUG) / "claims", "1-part") as claimed,
    ):
        assert claimed


def test_a_dead_ones_lock_is_taken_over_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = (shared_copy(machine(name).root) for name in ("a", "b"))
    assert quick is not None and slow is not None
    quick.remote.write("leases/locks/hand/redo", json.dumps({"token": "t", "machine": "dead"}).encode())
    time.sleep(1.5 * LEASE_S)
    stat, held = slow.remote.stat, ExitStack()

    def stat_and_fall_behind(key: str) -> Entry | None:
        """What was found is old when it is acted upon: the other machine took the lock meanwhile."""
        monkeypatch.undo()
        found = stat(key)
        held.enter_context(quick.leases.exclusive(SLUG, "redo"))
        return found

    monkeypatch.setattr(slow.remote, "stat", stat_and_fall_behind)
    got = threading.Event()

    def work() -> None:
        with slow.leases.exclusive(SLUG, "redo"):
            got.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not got.wait(LEASE_S / 2)
    held.close()
    thread.join()
    assert got.is_set()


def test_of_two_stages_that_begin_at_once_not_both_go_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (shared_copy(machine(name).root) for name in ("a", "b"))
    assert here is not None and there is not None
    found, held = here.remote.list, ExitStack()

    def list_and_fall_behind(folder: str, prefix: str = "") -> dict[str, Entry]:
        monkeypatch.undo()
        listed = found(folder, prefix)
        assert held.enter_context(there.leases.stage(SLUG, "001-redo-0", lambda other: "sample" in other)) is None
        return listed

    monkeypatch.setattr(here.remote, "list", list_and_fall_behind)
    with held, here.leases.stage(SLUG, "001-sample-0", lambda other: "redo" in other) as other:
        assert other == "001-redo-0"


def test_a_claim_whose_answer_was_lost_is_the_stages_own(machine: Machine) -> None:
    copy = shared_copy(machine("a").root)
    assert copy is not None
    with (
        copy.leases.stage(SLUG, "001-sample-0", lambda _: False),
        copy.leases.claim(SLUG, "1-part") as first,
        # The object is there, and a process that was not told so asks again.
        copy.leases.claim(SLUG, "1-part") as again,
    ):
        assert first and again


def test_what_this_machine_left_is_not_at_work(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFEXPLORE_LEASE_S", "600")
    other, store = machine("b"), machine("a")
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "True\n"
        assert live_stages(store, SLUG) == live_stages(other, SLUG) == ["001-sample-0"]
        holder.kill()
        holder.wait()
    assert live_stages(store, SLUG) == []
    with stage_lock(store, SLUG, round_number=1, stage="rft", shard=0):
        assert live_stages(machine("c"), SLUG) == ["001-rft-0"]


LONG_STAGE = """
import time
from selfexplore_tasks.stages import gate
from selfexplore_tasks.stages.registry import run_stage
from selfexplore_tasks.store.home import Store

def run(context):
    print("begun", flush=True)
    time.sleep(600)

gate.run = run
run_stage(Store.opened(), "hand", "gate", round_number=1)
"""


def test_a_stage_on_another_machine_ends_when_the_experiment_is_cancelled(machine: Machine, tmp_path: Path) -> None:
    hand = HandRounds.begin(machine("a"))
    hand.round(1, {})
    environment = {**os.environ, "SELFEXPLORE_CACHE": str(tmp_path / "b")}
    command = [sys.executable, "-c", LONG_STAGE]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as stage:
        assert stage.stdout is not None and stage.stdout.readline() == "begun\n"
        control.cancel(hand.store, SLUG, who="ada", why="")
        said, _ = stage.communicate(timeout=120)
    assert stage.returncode == 2 and said.startswith("error: Experiment 'hand' was cancelled by ada")


def test_the_hand_on_the_wheel_reaches_the_other_machine(machine: Machine) -> None:
    hand = HandRounds.begin(machine("a"))
    there = machine("b")
    control.pause(there, SLUG, who="ada", why="")
    hand.store.refresh()
    assert control.is_paused(hand.store, SLUG)


def test_an_older_listing_does_not_undo_a_newer_write(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = machine("a"), machine("b")
    path = Path("control", f"{SLUG}.json")
    write_json(here.root / path, {"said": 1})
    there.refresh()
    copy = shared_copy(there.root)
    assert copy is not None
    listing = copy.remote.list("state/")
    write_json(there.root / path, {"said": 2})
    new = Path("control", "new.json")
    write_text(there.root / new, "{}")
    # As if it had been asked for before the two writes: S3 itself never answers so.
    monkeypatch.setattr(copy.remote, "list", lambda folder, prefix="": listing if folder == "state/" else {})
    there.refresh()
    assert json.loads((there.root / path).read_text()) == {"said": 2}
    monkeypatch.undo()


def test_an_outage_is_waited_for_and_then_told(machine: Machine, server: S3Server, tmp_path: Path) -> None:
    store = machine("a")
    server.pause()
    wake = threading.Timer(1.0, server.resume)
    wake.start()
    write_text(store.root / "control" / "a.json", "{}")
    wake.join()
    copy = shared_copy(store.root)
    assert copy is not None
    server.pause()
    try:
        with copy.remote.impatient(0.0), pytest.raises(StoreUnreachable, match="does not answer"):
            copy.pull()
        environment = {**os.environ, "SELFEXPLORE_STORE_TIMEOUT_S": "0"}
        done = subprocess.run(
            [sys.executable, "-m", "selfexplore_tasks", "scores"], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 5 and "connection was lost" in done.stderr and "Traceback" not in done.stderr
    finally:
        server.resume()


def test_nothing_of_a_file_is_here_that_is_not_there(machine: Machine, server: S3Server) -> None:
    store = machine("a")
    copy = shared_copy(store.root)
    assert copy is not None
    server.pause()
    try:
        with copy.remote.impatient(0.0), pytest.raises(StoreUnreachable):
            put_chunk(store, 1, "x")
    finally:
        server.resume()
    assert not list((store.root / "tables").rglob("*"))[3:]
    assert is_done(put_chunk(store, 1, "x"), recipe_hash="h")


def test_an_empty_secret_file_leaves_it_to_the_usual_credentials(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "s3_access_key"
    empty.touch()
    for name in ("AWS_ACCESS_KEY_ID_FILE", "AWS_SECRET_ACCESS_KEY_FILE"):
        monkeypatch.setenv(name, str(empty))
    assert experiment_names(machine("a")) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"SELFEXPLORE_HOME": "s3://nobody-made-it/x"}, "make the bucket 'nobody-made-it' first"),
        ({"SELFEXPLORE_HOME": "gs://bucket/x"}, "a folder or s3://bucket/prefix"),
        ({"SELFEXPLORE_HOME": "s3://key:secret@bucket/x"}, "credentials go into AWS_"),
        ({"SELFEXPLORE_LEASE_S": "soon"}, "SELFEXPLORE_LEASE_S must be a number"),
        ({"SELFEXPLORE_STORE_TIMEOUT_S": "soon"}, "SELFEXPLORE_STORE_TIMEOUT_S must be a number"),
        ({"AWS_SECRET_ACCESS_KEY_FILE": "/nowhere"}, "AWS_SECRET_ACCESS_KEY_FILE names /nowhere"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "refuses access"),
    ],
)
def test_what_cannot_be_a_store_is_one_sentence(machine: Machine, changed: dict[str, str], told: str) -> None:
    machine("a")
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent", **changed}
    environment["SELFEXPLORE_CACHE"] += "-new"
    # PATH-like leftovers of the developer must not lend credentials.
    environment |= {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    command = ["stage", "gate", "--experiment", "e", "--round", "0", "--recipe", "arithmetic-tiny"]
    done = subprocess.run(
        [sys.executable, "-m", "selfexplore_tasks", *command],
        env={name: value for name, value in environment.items() if value},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert "secret" not in done.stderr.replace("AWS_SECRET", "")
