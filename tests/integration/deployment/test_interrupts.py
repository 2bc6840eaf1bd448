# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is interrupted anywhere is completed by the next one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

import pytest

# Each is the name of a task during which the run is interrupted.
MOMENTS = [
    "Make the VPC",
    "Start the database",
    "Make the IAM roles of the tasks",
    "Prepare both databases and the admin user",
    "Run the tasks and wait until they are steady",
]
SAMPLE = [(MOMENTS[3], signal.SIGKILL)]
ALL = [(moment, sign) for moment in MOMENTS for sign in (signal.SIGINT, signal.SIGKILL)]


def interrupt(deployment, moment: str, sign: signal.Signals) -> None:
    """Run site.yml and send `sign` to its process group a moment after the task `moment` has begun."""
    environment = dict(deployment.aws.environment, PYTHONUNBUFFERED="1")
    run = subprocess.Popen(
        deployment.command("site"), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    seen = []
    for line in run.stdout:
        seen.append(line)
        if line.startswith("TASK") and moment in line:
            time.sleep(random.uniform(0.2, 2.0))
            os.killpg(run.pid, sign)
            break
    run.stdout.close()
    run.wait(timeout=60)
    assert moment in seen[-1], "".join(seen[-20:])


def converges(deployment, moment: str, sign: signal.Signals) -> None:
    interrupt(deployment, moment, sign)
    run = deployment.play("site")
    assert run.returncode == 0, run.stdout[-6000:]


@pytest.mark.parametrize(("moment", "sign"), SAMPLE)
def test_interrupted_run_converges(empty_account, moment, sign):
    converges(empty_account, moment, sign)


@pytest.mark.long
def test_ten_interruptions_in_a_row_converge(empty_account, changed):
    """Each run begins with what the interrupted ones before it left behind."""
    for moment, sign in ALL:
        interrupt(empty_account, moment, sign)
    run = empty_account.play("site")
    assert run.returncode == 0, run.stdout[-6000:]
    assert changed(empty_account.play("site")) == 0


@pytest.mark.long
@pytest.mark.parametrize(("moment", "sign"), ALL)
def test_every_interrupted_run_converges(empty_account, changed, moment, sign):
    converges(empty_account, moment, sign)
    again = empty_account.play("site")
    assert changed(again) == 0, again.stdout
    cleared = empty_account.play("destroy", "-e", f"confirm_destroy={empty_account.name}")
    assert cleared.returncode == 0, cleared.stdout[-6000:]
