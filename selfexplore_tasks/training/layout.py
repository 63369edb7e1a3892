"""Over how many processes a model is trained, and how they share it: the recipe's section `accelerate`, resolved here.

The ready configurations in `training/accelerate` are YAML files as `accelerate launch --config_file` takes them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from selfexplore_tasks.errors import UserError

if TYPE_CHECKING:
    from selfexplore_tasks.recipe import Accelerate, Recipe, Training

CONFIGS = Path(__file__).parent / "accelerate"
KINDS = ("NO", "MULTI_GPU", "FSDP", "DEEPSPEED")


@dataclass(frozen=True)
class Layout:
    """``config_file`` None: this process trains alone."""

    name: str = "single"
    config_file: Path | None = None
    processes: int = 1

    def share(self, batch_size: int) -> int:
        """Examples of an optimiser step that one process trains on. Raises UserError where they cannot be dealt out."""
        if batch_size % self.processes:
            raise UserError(
                f"batch_size={batch_size} cannot be dealt out to {self.processes} processes "
                f"(accelerate.config={self.name}): it must be a multiple of micro_batch_size times the processes"
            )
        return batch_size // self.processes


SINGLE = Layout()


def ready_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(file.stem for file in CONFIGS.glob("*.yaml"))


def check_accelerate(recipe: Recipe) -> None:
    """Raise UserError for what is wrong with section `accelerate`; imports neither torch nor accelerate.

    How many GPUs the training machine has is not known here: without a number of processes, batches are not checked.
    """
    settings = recipe.accelerate
    if settings.config == "single":
        return
    file = _config_file(settings.config)
    content = _content(file)
    processes = settings.processes or (None if settings.config in ready_configs() else content.get("num_processes"))
    _check_kind(settings.config, content["distributed_type"], processes or 1, content)
    if processes is None:
        return
    for section, training in _trainings(recipe).items():
        try:
            check_batches(training, Layout(settings.config, file, processes))
        except UserError as error:
            raise UserError(f"{section}.{error}") from error


def check_batches(settings: Training, layout: Layout) -> None:
    """Raise UserError unless every optimiser step can be dealt out to the processes in whole micro-batches."""
    share = layout.share(settings.batch_size)
    if share % min(settings.micro_batch_size, share):
        raise UserError(
            f"batch_size={settings.batch_size} is {share} for each of {layout.processes} processes "
            f"(accelerate.config={layout.name}), no multiple of "
            f"micro_batch_size={settings.micro_batch_size}: change one of them"
        )


def resolve_layout(settings: Accelerate) -> Layout:
    """Return the layout on this machine: without a number of processes, one a GPU.

    Raises UserError for a file that is not there or that accelerate cannot read, a package that is not installed, and
    more processes than GPUs where there are GPUs.
    """
    if settings.config == "single":
        return SINGLE
    file = _config_file(settings.config)
    config = _read(file)
    kind = str(getattr(config.distributed_type, "value", config.distributed_type))
    gpus = _gpu_count()
    processes = settings.processes or (
        max(1, gpus) if settings.config in ready_configs() else int(config.num_processes)
    )
    _check_kind(settings.config, kind, processes, vars(config))
    _check_gpus(settings.config, kind, processes, gpus)
    if processes == 1 and kind in ("NO", "MULTI_GPU"):
        return SINGLE
    return Layout(settings.config, file, processes)


def _trainings(recipe: Recipe) -> dict[str, Training]:
    """The sections of what the recipe trains."""
    rft = recipe.rft
    trains_rft = recipe.compare or {rft.first_round, rft.later_rounds} != {"skip"}
    return {
        **({"sft": recipe.sft} if recipe.sft is not None else {}),
        **({"rft": rft} if trains_rft else {}),
        "dpo": recipe.dpo,
    }


def _config_file(name: str) -> Path:
    if name in ready_configs():
        return CONFIGS / f"{name}.yaml"
    file = Path(name).expanduser()
    if not file.is_file():
        raise UserError(
            f"accelerate.config={name} is neither a file nor one of single, {', '.join(ready_configs())}: "
            "write one with `accelerate config --config_file FILE`"
        )
    if not file.is_absolute():
        raise UserError(
            f"accelerate.config={name} must be an absolute path: stages run in other folders (here: {file.resolve()})"
        )
    return file


def _content(file: Path) -> dict[str, Any]:
    """The file as it is, for a look without accelerate."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} (accelerate.config) is not valid YAML: {str(error).splitlines()[0]}") from error
    counts = ("num_processes", "num_machines")
    if (
        not isinstance(content, dict)
        or "distributed_type" not in content
        or any(not isinstance(content.get(name, 1), int) or content.get(name, 1) < 1 for name in counts)
    ):
        raise UserError(
            f"accelerate cannot read {file} (accelerate.config): it needs a distributed_type, and whole numbers for "
            f"{' and '.join(counts)}; write one with `accelerate config --config_file FILE`"
        )
    return content


def _read(file: Path) -> Any:
    """The file as accelerate's own loader has it."""
    from accelerate.commands.config.config_args import load_config_from_file

    try:
        return load_config_from_file(str(file))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"accelerate cannot read {file} (accelerate.config): {error}") from error


def _check_kind(name: str, kind: object, processes: int, content: Mapping[str, Any]) -> None:
    machines = content.get("num_machines", 1)
    if kind not in KINDS:
        raise UserError(f"accelerate.config={name} is of distributed_type {kind}: here {', '.join(KINDS)} run")
    if processes > 1 and (kind == "NO" or content.get("use_cpu")):
        raise UserError(
            f"accelerate.config={name} starts one process, not {processes} (distributed_type: NO, or use_cpu: true): "
            "take ddp, or write another file with `accelerate config`"
        )
    if kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise UserError(
            f"accelerate.config={name} needs the package deepspeed, which is not installed: "
            "pip install deepspeed (it compiles against CUDA), or take fsdp2, which needs nothing more"
        )
    if machines > 1:
        raise UserError(
            f"accelerate.config={name} asks for {machines} machines: a stage trains on one, set num_machines: 1"
        )


def _check_gpus(name: str, kind: str, processes: int, gpus: int) -> None:
    if kind == "DEEPSPEED" and not gpus:
        raise UserError(f"accelerate.config={name} needs a GPU, and none is seen here: take ddp or single")
    if gpus and processes > gpus:
        raise UserError(
            f"accelerate.processes={processes} is more than the {gpus} GPUs seen here: lower it, or leave it null"
        )


def _gpu_count() -> int:
    import torch

    return int(torch.cuda.device_count())
