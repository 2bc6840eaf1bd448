# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a container's processes use, against Fargate's hard limit for the task.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#task_size
"""

from __future__ import annotations

from collections.abc import Iterable

import psutil

MIB = 1024 * 1024
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


def used_bytes(pids: Iterable[int], limit_bytes: int) -> int:
    """Bytes that these processes use together.

    The sum of resident sizes counts shared pages once per process, so it is never below the truth: only when it
    comes near the limit is the exact, dearer figure (proportional set size, Linux) worth reading.
    """
    processes = [process for pid in pids if (process := _process(pid))]
    resident = sum(_resident(process) for process in processes)
    if resident < limit_bytes * 0.9:
        return resident
    return sum(_proportional(process) for process in processes)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:
        return 0
    return getattr(memory, "pss", memory.uss)
