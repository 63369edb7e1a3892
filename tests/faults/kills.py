"""Kill stages, and Airflow itself, at random moments, and compare every table with those of an undisturbed run.

    python tests/faults/kills.py --kills 90 --airflow-kills 10 --seed 0          # `make test-faults`

Kills are SIGKILL at seeded moments, spread over every stage; rounds follow each other until all kills have happened.
Outages (of Airflow's API server, of its database) count among them at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from airflow_kills import run_airflow_with_kills
from selfexplore_tasks.store.home import Store
from stage_kills import Tally, run_undisturbed, run_with_kills
from subject import TINY, compare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=90, help="of stages, their guards and launchers")
    parser.add_argument("--airflow-kills", type=int, default=10, help="of Airflow's workers and scheduler")
    parser.add_argument("--outages", type=int, default=2, help="of Airflow's API server and database")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tallies, differences = [], []
    with tempfile.TemporaryDirectory(prefix="selfexplore-faults-") as folder:
        calm = Store(Path(folder) / "calm")
        seconds = run_undisturbed(calm, TINY, 1)
        if options.kills:
            rough, tally = Store(Path(folder) / "rough"), Tally(options.kills)
            last = run_with_kills(rough, TINY, tally, seed=options.seed, seconds=seconds)
            run_undisturbed(calm, TINY, last)
            differences += compare(rough, calm, TINY.slug, last)
            tallies.append(tally)
            print(f"stages: {dict(tally.victims)} in {dict(tally.stages)}; rounds: {last + 1}", flush=True)
        if options.airflow_kills or options.outages:
            tally = Tally(options.airflow_kills + options.outages)
            site, outages = Path(folder) / "site", options.outages
            rough, last = run_airflow_with_kills(site, TINY, tally, seed=options.seed, outages=outages)
            run_undisturbed(calm, TINY, last)
            differences += compare(rough, calm, TINY.slug, last)
            tallies.append(tally)
            print(f"Airflow: {dict(tally.victims)} in {dict(tally.stages)}; rounds: {last + 1}", flush=True)
    for difference in differences:
        print(difference)
    verdict = "tables differ from" if differences else "0 rows lost, 0 duplicated, tables equal to"
    print(
        f"{sum(tally.victims.total() for tally in tallies)} kills, {verdict} the undisturbed run; seed {options.seed}"
    )
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
