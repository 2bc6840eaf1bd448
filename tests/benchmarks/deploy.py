# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure site.yml on an empty local AWS: make bench, or python -m tests.benchmarks.deploy [--scale 0 0.1].

For each scale of the modelled AWS creation times (0: none, 1: as slow as AWS) it prints the wall time of a first and of a second run,
the number of tasks, the API calls by read and write, and the ratio of the first run's wall time to the longest chain of modelled waits.
"""

from __future__ import annotations

import argparse

from tests.benchmarks.runs import account, chain_seconds

# What must happen one after the other on AWS: the database, then the task that prepares it, then the service's tasks.
LONGEST_CHAIN = ("rds_create", "task_start", "task_start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, nargs="+", default=[0.0, 0.25], help="scales of AWS's creation times")
    print(f"{'scale':>6} {'run':<11} {'seconds':>8} {'tasks':>6} {'reads':>6} {'writes':>7} {'chain s':>8} {'ratio':>6}")
    for scale in parser.parse_args().scale:
        chain = chain_seconds(scale, *LONGEST_CHAIN)
        with account(scale) as one:
            for name in ("first run", "second run"):
                run = one.play("site")
                ratio = f"{run.seconds / chain:.2f}" if chain and name == "first run" else "-"
                print(
                    f"{scale:>6} {name:<11} {run.seconds:>8.1f} {run.tasks:>6} {run.reads:>6} {run.writes:>7} {chain:>8.1f} {ratio:>6}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
