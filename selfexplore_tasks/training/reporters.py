"""Where the trainers may report to, named as transformers names them: checked before training, ended after it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from selfexplore_tasks.errors import UserError


def check_reporters(names: Sequence[str]) -> None:
    """Raise UserError unless the package of every reporter can be used; nothing is sent."""
    if not names:
        return
    available = _availability()
    for name in names:
        if not available[name]():
            raise UserError(
                f"report_to={name} needs the package {name}, which is not installed or not set up here: "
                f"pip install {name.replace('_', '-')}, or take it out of report_to"
            )


def _availability() -> dict[str, Callable[[], bool]]:
    from transformers import integrations

    return {
        "tensorboard": integrations.is_tensorboard_available,
        "wandb": integrations.is_wandb_available,
        "mlflow": integrations.is_mlflow_available,
        "trackio": integrations.is_trackio_available,
        "comet_ml": integrations.is_comet_available,
        "clearml": integrations.is_clearml_available,
        "swanlab": integrations.is_swanlab_available,
    }


def end_reports(names: Sequence[str]) -> None:
    """End the runs that transformers leaves open: the next model that this process trains is a run of its own."""
    for name in ("wandb", "swanlab"):
        if name in names:
            importlib.import_module(name).finish()
