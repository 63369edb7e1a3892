"""What a round will cost, before it runs: tokens, seconds and disk by stage, and where these numbers come from."""

from selfexplore_tasks.estimates.disk import check_disk
from selfexplore_tasks.estimates.model import RoundEstimate, read_estimate, save_estimate
from selfexplore_tasks.estimates.rounds import describe, estimate_round, estimate_rounds

__all__ = [
    "RoundEstimate",
    "check_disk",
    "describe",
    "estimate_round",
    "estimate_rounds",
    "read_estimate",
    "save_estimate",
]
