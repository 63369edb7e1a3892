"""``python -m selfexplore_tasks.training.rank``: accelerate's launcher, and the training processes it starts.

``launch PARENT ARGUMENTS…`` runs accelerate's launcher with ARGUMENTS; ``train PLAN`` is one of its processes.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.processes import die_with
from selfexplore_tasks.store.files import write_json
from selfexplore_tasks.training.launcher import MESSAGE_CHARACTERS, RANK_LOG_NAME, Plan, send

LAUNCHER_VARIABLE = "SELFEXPLORE_TRAINING_LAUNCHER"


def main() -> int:
    """Return the exit code of the launcher or of the training process."""
    role, argument = sys.argv[1:3]
    # Torch's launcher gives every process a session of its own: ending the stage's process group would miss them.
    if role == "launch":
        die_with(int(argument))
        return _launch(sys.argv[3:])
    die_with(int(os.environ[LAUNCHER_VARIABLE]))
    return _train(pickle.loads(Path(argument).read_bytes()))


def _launch(arguments: list[str]) -> int:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ[LAUNCHER_VARIABLE] = str(os.getpid())
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f"training process {rank} ended first, with exit code {failure.exitcode}", flush=True)
        return 1
    return 0


def _train(plan: Plan) -> int:
    """Train as one of several; the first one reports. What ends it is sent to the stage, if it still can."""
    import torch

    from selfexplore_tasks.engines.common import is_out_of_memory
    from selfexplore_tasks.training.attempt import attempt
    from selfexplore_tasks.training.device import torch_settings

    is_first = os.environ["RANK"] == "0"
    try:
        if not torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_FSDP") == "true":
            _shard_on_cpu()
        with torch_settings(plan.threads):
            log = attempt(plan.job, plan.partial, plan.examples, plan.build, _report if is_first else None)
    except UserError as error:
        send("user_error", str(error)[:MESSAGE_CHARACTERS])
        return 1
    except Exception as error:
        if is_out_of_memory(error):
            send("memory", str(error)[:MESSAGE_CHARACTERS])
            return 1
        send("failure", f"a training process failed: {type(error).__name__}: {error}"[:MESSAGE_CHARACTERS])
        raise
    if is_first:
        write_json(plan.partial.folder / RANK_LOG_NAME, {"log": log})
    torch.distributed.destroy_process_group()
    return 0


def _shard_on_cpu() -> None:
    """Let accelerate shard over processes on the CPU, which torch can do and accelerate has no type for."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    state = PartialState(cpu=True)
    state._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def _report(step: int, total: int, logs: dict[str, float]) -> None:
    send("progress", [step, total, logs])


if __name__ == "__main__":
    sys.exit(main())
