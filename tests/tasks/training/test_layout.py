"""The recipe's section `accelerate`: which processes train on what."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selfexplore_tasks.cli import main
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.failures import ExitCode
from selfexplore_tasks.recipe import Accelerate, Dpo
from selfexplore_tasks.recipe_files import load_recipe
from selfexplore_tasks.store.experiments import load_experiment, open_experiment
from selfexplore_tasks.store.home import Store
from selfexplore_tasks.training.data import PreferenceExample
from selfexplore_tasks.training.job import make_job
from selfexplore_tasks.training.layout import (
    CONFIGS,
    SINGLE,
    Layout,
    check_accelerate,
    ready_configs,
    resolve_layout,
)
from selfexplore_tasks.training.order import dealt_batches, micro_batches

KINDS = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed_zero2": "DEEPSPEED", "deepspeed_zero3": "DEEPSPEED"}


def test_accelerate_reads_the_ready_configurations() -> None:
    assert ready_configs() == sorted(KINDS)
    loaded = {name: load_config_from_file(str(CONFIGS / f"{name}.yaml")) for name in KINDS}
    assert {name: config.distributed_type.value for name, config in loaded.items()} == KINDS
    assert all(config.mixed_precision == "no" and config.num_machines == 1 for config in loaded.values())
    assert loaded["fsdp2"].fsdp_config["fsdp_version"] == 2
    assert [loaded[f"deepspeed_zero{stage}"].deepspeed_config["zero_stage"] for stage in (2, 3)] == [2, 3]


def test_one_process_trains_alone() -> None:
    assert resolve_layout(Accelerate()) == SINGLE
    assert resolve_layout(Accelerate(config="ddp", processes=1)) == SINGLE
    with pytest.raises(ValidationError, match=r"accelerate.processes=2 disagrees with accelerate.config=single"):
        Accelerate(processes=2)


def test_a_file_of_ones_own_says_how_many_processes(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text((CONFIGS / "ddp.yaml").read_text().replace("num_processes: 1", "num_processes: 3"))
    assert resolve_layout(Accelerate(config=str(file))) == Layout(str(file), file, 3)
    assert resolve_layout(Accelerate(config=str(file), processes=2)).processes == 2
    file.write_text(file.read_text().replace("num_machines: 1", "num_machines: 2"))
    with pytest.raises(UserError, match="asks for 2 machines"):
        resolve_layout(Accelerate(config=str(file)))
    file.write_text("compute_environment: LOCAL_MACHINE\nnumber_of_processes: 3\n")
    with pytest.raises(UserError, match=r"accelerate cannot read .*mine.yaml"):
        resolve_layout(Accelerate(config=str(file)))


def test_a_name_that_means_nothing_is_explained() -> None:
    with pytest.raises(UserError, match="fsdp3 is neither a file nor one of single, ddp, deepspeed_zero2"):
        resolve_layout(Accelerate(config="fsdp3"))


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="package deepspeed is installed")
def test_deepspeed_that_is_not_installed_is_named() -> None:
    with pytest.raises(
        UserError, match="deepspeed_zero2 needs the package deepspeed, which is not installed: pip inst"
    ):
        resolve_layout(Accelerate(config="deepspeed_zero2", processes=2))


BATCHES = {"rft.batch_size": 8, "rft.micro_batch_size": 4, "dpo.batch_size": 12, "dpo.micro_batch_size": 4}


@pytest.mark.parametrize(
    ("config", "processes", "sentence"),
    [
        ("fsdp3", None, "fsdp3 is neither a file nor one of single, ddp"),
        ("/nowhere/mine.yaml", 2, "mine.yaml is neither a file nor one of single, ddp"),
        pytest.param(
            "deepspeed_zero3",
            None,
            "needs the package deepspeed, which is not installed",
            marks=pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="it is installed"),
        ),
        ("ddp", 3, r"sft.batch_size=64 cannot be dealt out to 3 processes"),
        ("fsdp2", 2, r"dpo.batch_size=12 is 6 for each of 2 processes .* no multiple of micro_batch_size=4"),
    ],
)
def test_a_wrong_section_is_refused_before_any_work(
    config: str, processes: int | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `recipe check`; of a new experiment and of one that is there: the section may change between rounds."""
    store = Store(tmp_path)
    wrong = {"accelerate.config": config, "accelerate.processes": processes}
    with pytest.raises(UserError, match=sentence):
        open_experiment(store, "new", "arithmetic-tiny", {**BATCHES, **wrong, "sft.batch_size": 64})
    assert not store.experiment_file("new").exists()
    made = open_experiment(store, "old", "arithmetic-tiny", {**BATCHES, "sft.batch_size": 64})
    with pytest.raises(UserError, match=sentence):
        open_experiment(store, "old", None, wrong)
    assert load_experiment(store, "old") == made
    changes = [
        f"--set={name}={json.dumps(value)}" for name, value in {**BATCHES, **wrong, "sft.batch_size": 64}.items()
    ]
    assert main(["recipe", "check", "arithmetic-tiny", *changes]) == ExitCode.USER_ERROR
    assert re.search(sentence, capsys.readouterr().err)


def test_a_wrong_file_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(content: str, name: str = str(tmp_path / "mine.yaml")) -> str:
        (tmp_path / "mine.yaml").write_text(content)
        with pytest.raises(UserError) as refused:
            check_accelerate(load_recipe("arithmetic-tiny", {**BATCHES, "accelerate.config": name}))
        return str(refused.value)

    ready = (CONFIGS / "ddp.yaml").read_text()
    assert "sft.batch_size=16 cannot be dealt out to 5" in refusal(
        ready.replace("num_processes: 1", "num_processes: 5")
    )
    two = ready.replace("num_processes: 1", "num_processes: 2")
    assert "starts one process, not 2" in refusal(two.replace("MULTI_GPU", "'NO'"))
    assert "starts one process, not 2" in refusal(two.replace("use_cpu: false", "use_cpu: true"))
    assert "is of distributed_type XLA" in refusal(ready.replace("MULTI_GPU", "XLA"))
    assert "asks for 2 machines" in refusal(ready.replace("num_machines: 1", "num_machines: 2"))
    assert "whole numbers for num_processes" in refusal(ready.replace("num_processes: 1", "num_processes: many"))
    assert "needs a distributed_type" in refusal("- 1")
    assert "is not valid YAML" in refusal("{")
    monkeypatch.chdir(tmp_path)
    assert "must be an absolute path" in refusal(ready, "mine.yaml")


def test_the_look_ahead_needs_no_torch() -> None:
    code = (
        "import sys; from selfexplore_tasks.recipe_files import load_recipe; "
        "from selfexplore_tasks.training.layout import check_accelerate; "
        "check_accelerate(load_recipe('arithmetic-tiny', {'accelerate.config': 'fsdp2', 'accelerate.processes': 2})); "
        "sys.exit(bool({'torch', 'accelerate'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("batch_size", "micro_batch_size", "processes", "sentence"),
    [
        (8, 8, 3, "batch_size=8 cannot be dealt out to 3 processes"),
        (12, 4, 2, "batch_size=12 is 6 for each of 2 processes .* no multiple of micro_batch_size=4"),
    ],
)
def test_a_batch_that_cannot_be_dealt_out_is_refused_before_anything_is_written(
    batch_size: int, micro_batch_size: int, processes: int, sentence: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        make_job(
            kind="dpo",
            model_dir=tiny_model_dir,
            output_dir=tmp_path / "policy",
            examples=[PreferenceExample((2,), (3, 0), (4,))],
            settings=Dpo(batch_size=batch_size, micro_batch_size=micro_batch_size),
            seed=7,
            threads=1,
            layout=Layout("ddp", CONFIGS / "ddp.yaml", processes),
        )
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1, 90), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_all_processes_together_see_each_batch_once(count: int, micro: int, rounds: int, processes: int) -> None:
    order, batch_size = list(range(count)), micro * rounds * processes
    dealt = [micro_batches(order, batch_size, micro, process=one, processes=processes) for one in range(processes)]
    assert len({len(batches) for batches in dealt}) == 1
    assert all(len(batch) <= micro for batches in dealt for batch in batches)
    for step in range(-(-count // batch_size)):
        seen = [i for batches in dealt for batch in batches[step * rounds : (step + 1) * rounds] for i in batch]
        assert sorted(seen) == order[step * batch_size : (step + 1) * batch_size]


@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 4))
def test_reference_batches_are_dealt_out_evenly(count: int, batch_size: int, processes: int) -> None:
    dealt = [dealt_batches(range(count), batch_size, one, processes) for one in range(processes)]
    assert len({len(batches) for batches in dealt}) == 1
    assert sorted(i for batches in dealt for batch in batches for i in batch) == list(range(count))
