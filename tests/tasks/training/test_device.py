"""Memory, threads and determinism."""

from __future__ import annotations

import pytest
import torch

from selfexplore_tasks.engines.common import is_out_of_memory
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.training.device import smaller_micro_batch, torch_settings


@pytest.mark.parametrize(
    ("micro_batch_size", "batch_size", "smaller"), [(8, 64, 4), (6, 6, 3), (3, 6, 1), (5, 5, 1), (12, 36, 6)]
)
def test_the_smaller_micro_batch_divides_the_batch(micro_batch_size: int, batch_size: int, smaller: int) -> None:
    assert smaller_micro_batch(micro_batch_size, batch_size) == smaller
    assert batch_size % smaller == 0


def test_one_example_that_does_not_fit_is_the_users_to_solve() -> None:
    with pytest.raises(UserError, match=r"one example at a time.*gradient_checkpointing"):
        smaller_micro_batch(1, 64)


def test_real_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_settings_are_put_back() -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch_settings(1):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled() is not torch.cuda.is_available()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
