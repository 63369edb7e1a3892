"""What befalls a stage from outside has an exit code and one sentence, and it goes on when the cause is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import requests
import torch
from huggingface_hub import HfApi, snapshot_download

from selfexplore_tasks.errors import CheckFailed, UserError
from selfexplore_tasks.failures import BATCH_DIVISOR_VARIABLE, ExitCode, batch_divisor, failure_of
from selfexplore_tasks.local_airflow import free_port
from selfexplore_tasks.recipe import Engine, Training


@contextmanager
def hub(status: int) -> Iterator[HfApi]:
    """A web server that answers everything with one status."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield HfApi(endpoint=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask_hub(status: int) -> None:
    with hub(status) as api:
        try:
            api.model_info("owner/model")
        except Exception as error:
            raise UserError(f"owner/model cannot be fetched: {type(error).__name__}") from error


def download(tmp_path: Path) -> None:
    snapshot_download("owner/model", endpoint=f"http://127.0.0.1:{free_port()}", cache_dir=tmp_path)


def fill_duckdb() -> None:
    connection = duckdb.connect(config={"memory_limit": "1MB", "temp_directory": ""})
    connection.execute("create table t as select range as a, random() as b from range(10_000_000)")


ERRORS: dict[str, tuple[Callable[[Path], object], ExitCode | None]] = {
    "memory of the host": (lambda _: bytes(2**60), ExitCode.OUT_OF_MEMORY),
    "memory, says torch": (lambda _: torch.empty(2**58), ExitCode.OUT_OF_MEMORY),
    "memory, says duckdb": (lambda _: fill_duckdb(), ExitCode.OUT_OF_MEMORY),
    "a full device": (lambda _: Path("/dev/full").write_text("x", encoding="utf-8"), ExitCode.STORE_LOST),
    "the store is gone": (lambda folder: pq.read_table(folder / "gone" / "part.parquet"), ExitCode.STORE_LOST),
    "a file is gone": (lambda folder: (folder / "part.parquet").read_bytes(), None),
    "nobody answers": (lambda _: requests.get(f"http://127.0.0.1:{free_port()}", timeout=5), ExitCode.CONNECTION_LOST),
    "no hub": (download, ExitCode.CONNECTION_LOST),
    "the hub is ill": (lambda _: ask_hub(503), ExitCode.CONNECTION_LOST),
    "the hub says no": (lambda _: ask_hub(404), None),
    "a bug": (lambda _: {}["key"], None),
    "the user": (lambda _: batch_divisor({BATCH_DIVISOR_VARIABLE: "half"}), None),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_and_their_causes(name: str, tmp_path: Path) -> None:
    provoke, code = ERRORS[name]
    with pytest.raises(Exception) as raised:
        provoke(tmp_path)
    found = failure_of(raised.value, tmp_path / "gone" if name == "the store is gone" else tmp_path)
    assert (found and found[0]) == code
    assert found is None or "\n" not in found[1]


def test_a_hub_that_the_user_switched_off_is_not_a_lost_connection(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from huggingface_hub import HfApi; from selfexplore_tasks.failures import failure_of"
        "\ntry: HfApi().model_info('owner/model')\nexcept ConnectionError as error: print(failure_of(error, Path('/')))"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "None"


# A file system of its own that grows later; where the user may not mount one, a limit on the size of files.
TINY_DISK = (
    "mount -t tmpfs -o size=96k none {home} && {{ {stage}; echo $?; mount -o remount,size=64m {home}; {stage}; }}"
)
SMALL_FILES = "(ulimit -f 8; {stage}; echo $?); {stage}"


def test_a_stage_goes_on_when_the_disk_has_room_again(tmp_path: Path, round_recipe: Path) -> None:
    unshare = ["unshare", "-rm"]
    may_mount = subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0
    home = tmp_path / "store"
    home.mkdir()
    stage = f"{sys.executable} -m selfexplore_tasks stage prepare --experiment full --round 0 --recipe {round_recipe}"
    script = (TINY_DISK if may_mount else SMALL_FILES).format(home=home, stage=stage)
    result = subprocess.run(
        [*(unshare if may_mount else []), "bash", "-c", script],
        env={**os.environ, "SELFEXPLORE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    first, *_, last = result.stdout.splitlines()
    assert (first, result.returncode) == (str(int(ExitCode.STORE_LOST)), 0), result.stderr
    assert last.startswith("prepare: ")
    error = next(line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert error.startswith("error: The disk is full (") and str(home) in error and "Traceback" not in result.stderr


def test_bad_data_and_bad_input_have_codes_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from selfexplore_tasks import cli
    from selfexplore_tasks.commands import core

    monkeypatch.setenv("SELFEXPLORE_HOME", str(tmp_path))
    for error, code in ((CheckFailed("two rows"), ExitCode.BAD_DATA), (UserError("a name"), ExitCode.USER_ERROR)):
        monkeypatch.setattr(core, "where", lambda _, error=error: (_ for _ in ()).throw(error))
        assert cli.main(["where"]) == code
        assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize(
    ("divisor", "batch_size", "micro_batch_size", "allowed"),
    [("1", 16, 16, 16), ("2", 16, 16, 8), ("4", 16, 16, 4), ("2", 6, 6, 3), ("4", 6, 6, 1), ("64", 16, 4, 1)],
)
def test_training_takes_smaller_batches_of_the_same_effect(
    monkeypatch: pytest.MonkeyPatch, divisor: str, batch_size: int, micro_batch_size: int, allowed: int
) -> None:
    from selfexplore_tasks.training.common import allowed_micro_batch

    monkeypatch.setenv(BATCH_DIVISOR_VARIABLE, divisor)
    settings = Training(batch_size=batch_size, micro_batch_size=micro_batch_size)
    assert allowed_micro_batch(settings, batch_size) == allowed
    assert batch_size % allowed == 0


def test_generation_takes_smaller_batches_and_draws_the_same(
    monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    from selfexplore_tasks.engines.protocol import GenerationRequest
    from selfexplore_tasks.engines.select import open_engine

    request = GenerationRequest(
        prompt_token_ids=(5, 6, 7), n=8, temperature=1.0, top_p=1.0, max_new_tokens=8, stop=(), seed=3
    )
    drawn, batches = {}, {}
    for divisor in ("1", "4"):
        monkeypatch.setenv(BATCH_DIVISOR_VARIABLE, divisor)
        sizes: list[int] = []
        engine = open_engine(
            Engine(kind="transformers", threads=1, batch_size=8),
            tiny_model_dir,
            dtype="float32",
            context_length=None,
            seed=0,
        )
        drawn[divisor] = [done.text for done in engine.generate([request], sizes.append)[0]]
        batches[divisor] = sizes
        engine.close()
    assert batches == {"1": [8], "4": [2, 2, 2, 2]}
    assert drawn["1"] == drawn["4"]
