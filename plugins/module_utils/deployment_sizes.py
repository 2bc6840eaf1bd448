# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether tasks, workers, memory and database connections of a deployment fit together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings

# Fargate CPU units -> memory sizes in MiB (Amazon ECS developer guide, "Task CPU and memory").
FARGATE: dict[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
    8192: tuple(range(16384, 61440 + 1, 4096)),
    16384: tuple(range(32768, 122880 + 1, 8192)),
}


@dataclass(frozen=True)
class Footprint:
    """Memory of a server in MiB: what it needs at all, and for each worker."""

    base: int
    worker: int

    def of(self, workers: int) -> int:
        return self.base + workers * self.worker


# Sums of resident memory of `mlflow server --app-name basic-auth`, job execution off, on Linux x86-64 with Python 3.11,
# after the first requests, in MiB for 1, 2 and 4 workers: 2.18.0: 391, 570, 1016; 3.17.2: 516, 805, 1346.
# The lines below run through the four-worker figure and at or above the others. Pages that workers share count in
# each of them, so the real need is somewhat lower; running jobs, uploads and plug-ins need the difference.
FOOTPRINTS: dict[int, Footprint] = {2: Footprint(216, 200), 3: Footprint(250, 274)}
MOST_AUTOMATIC_WORKERS = 4
COMFORTABLE_SHARE = 0.9

# Memory of RDS instance classes in GiB (Amazon RDS user guide, "Hardware specifications for DB instance classes").
BURSTABLE = {"micro": 1, "small": 2, "medium": 4, "large": 8, "xlarge": 16, "2xlarge": 32}
LARGE_MULTIPLES = {
    "large": 1,
    "xlarge": 2,
    "2xlarge": 4,
    "4xlarge": 8,
    "8xlarge": 16,
    "12xlarge": 24,
    "16xlarge": 32,
    "24xlarge": 48,
}
GIB_PER_LARGE = {
    **dict.fromkeys(("m5", "m6g", "m6i", "m7g", "m7i"), 8),
    **dict.fromkeys(("r5", "r6g", "r6i", "r7g", "r7i"), 16),
}

# max_connections = LEAST(DBInstanceClassMemory / 9531392, 5000) (RDS user guide, "Maximum number of database
# connections"). DBInstanceClassMemory is what operating system and RDS leave; AWS does not publish how much that is.
# These two figures give 80 for a db.t3.micro, where 79 to 87 are reported.
BYTES_PER_CONNECTION = 9531392
MOST_CONNECTIONS = 5000
CLASS_MEMORY_SHARE = 0.955
CLASS_MEMORY_TAKEN_MIB = 250
# 3 superuser_reserved_connections, 2 of RDS, and 5 for RDS's own sessions, the migration task and a person with psql.
RESERVED_CONNECTIONS = 10

STORES = 3  # tracking store, model registry and user store each keep a pool in every worker, in MLflow 2 and 3
LEAST_CONNECTIONS = 2  # of a pool: MLflow takes an overflow of 0 for unset, so one is always kept and one may be added
ROLLING = 2  # a rolling deployment runs twice the tasks for a while (maximumPercent 200)
# SQLAlchemy's own defaults: more was never needed.
MOST_POOL = 5
MOST_OVERFLOW = 10


def check_sizes(desired: dict[str, Any], found: Findings) -> dict[str, int | None]:
    """Checks the sizes of ``desired``; what is not given is not checked.

    Returns ``mlflow_workers``, ``db_pool_size``, ``db_max_overflow``, ``db_max_connections`` (an estimate): chosen
    where ``desired`` leaves the choice (0), None where nothing could be said.
    """
    tasks = desired.get("desired_count")
    if tasks is not None and tasks < 1:
        found.refuse(
            "desired_count", tasks, "a deployment has at least one task", "choose 1 or more; 2 survive a failure"
        )
    elif tasks == 1:
        found.warn("desired_count", tasks, "one task is not highly available", "choose 2 or more")
    _check_fargate(desired, found)
    workers = _workers(desired, found)
    limit = _max_connections(desired, found)
    pool, overflow = _pool(desired, workers, limit, found)
    _check_database(desired, found)
    return {"mlflow_workers": workers, "db_pool_size": pool, "db_max_overflow": overflow, "db_max_connections": limit}


def memory_needed(version: str, workers: int) -> int:
    """MiB of resident memory of one task with ``workers`` workers of MLflow ``version``."""
    return _footprint(version).of(workers)


def _footprint(version: str) -> Footprint:
    major = int(version.split(".")[0])
    return FOOTPRINTS[min(max(major, min(FOOTPRINTS)), max(FOOTPRINTS))]


def instance_memory(instance_class: str) -> int | None:
    """GiB of memory of an RDS instance class such as ``db.t3.micro``; None if the class is not in the table."""
    parts = instance_class.split(".")
    if len(parts) != 3 or parts[0] != "db":
        return None
    family, size = parts[1:]
    if family in ("t3", "t4g"):
        return BURSTABLE.get(size)
    if family in GIB_PER_LARGE and size in LARGE_MULTIPLES:
        return GIB_PER_LARGE[family] * LARGE_MULTIPLES[size]
    return None


def max_connections(memory_gib: int) -> int:
    """About how many connections a PostgreSQL on RDS with ``memory_gib`` GiB takes by default."""
    usable_mib = memory_gib * 1024 * CLASS_MEMORY_SHARE - CLASS_MEMORY_TAKEN_MIB
    return min(int(usable_mib * 1024 * 1024 / BYTES_PER_CONNECTION), MOST_CONNECTIONS)


def choose_pool(connections_per_pool: int) -> tuple[int, int]:
    """Pool size and overflow that together stay within ``connections_per_pool`` (at least 1)."""
    size = min(max((connections_per_pool + 1) // 2, 1), MOST_POOL)
    return size, min(connections_per_pool - size, MOST_OVERFLOW)


def _check_fargate(desired: dict[str, Any], found: Findings) -> None:
    cpu, memory = desired.get("task_cpu"), desired.get("task_memory")
    if cpu is None or memory is None:
        return
    if cpu not in FARGATE:
        found.refuse(
            "task_cpu", cpu, "is not a CPU size of Fargate", f"choose one of {', '.join(map(str, FARGATE))} CPU units"
        )
    elif memory not in FARGATE[cpu]:
        fitting = [str(other) for other, sizes in FARGATE.items() if memory in sizes]
        other = f", or set {found.name('task_cpu')} to {' or '.join(fitting)}" if fitting else ""
        found.refuse(
            "task_memory",
            memory,
            f"Fargate does not combine {cpu} CPU units with {memory} MiB",
            f"choose {_choices(FARGATE[cpu])} MiB{other}",
        )


def _choices(sizes: tuple[int, ...]) -> str:
    if len(sizes) <= 4:
        return " or ".join(map(str, sizes))
    return f"{sizes[0]} to {sizes[-1]} in steps of {sizes[1] - sizes[0]}"


def _workers(desired: dict[str, Any], found: Findings) -> int | None:
    """The number of workers to run; None if it is not given or cannot be said."""
    workers, memory, version = (desired.get(key) for key in ("mlflow_workers", "task_memory", "mlflow_version"))
    if workers is None:
        return None
    if workers < 0:
        found.refuse(
            "mlflow_workers", workers, "is not a number of workers", "choose 1 or more, or 0 to have it chosen"
        )
        return None
    if memory is None or version is None:
        return workers or None
    if workers == 0:
        needs = {count: memory_needed(version, count) for count in range(1, MOST_AUTOMATIC_WORKERS + 1)}
        fitting = [count for count, need in needs.items() if need <= memory * COMFORTABLE_SHARE]
        workers = max(fitting, default=1)
    need = memory_needed(version, workers)
    if need > memory:
        most = max(0, (memory - _footprint(version).base) // _footprint(version).worker)
        fewer = f", or set {found.name('mlflow_workers')} to {most} at most" if most else ""
        found.refuse(
            "task_memory",
            memory,
            f"{_count(workers, 'worker')} of MLflow {version} need about {need} MiB, the task has {memory} MiB",
            f"raise it to {_next_memory(need)}{fewer}",
        )
    elif need > memory * COMFORTABLE_SHARE:
        found.warn(
            "task_memory",
            memory,
            f"{_count(workers, 'worker')} of MLflow {version} need about {need} of {memory} MiB, which is tight",
            "a larger task or one worker less is safer",
        )
    return workers


def _next_memory(need: int) -> int:
    sizes = sorted({size for sizes in FARGATE.values() for size in sizes})
    return next((size for size in sizes if need <= size), sizes[-1])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _max_connections(desired: dict[str, Any], found: Findings) -> int | None:
    instance_class = desired.get("db_instance_class")
    if instance_class is None:
        return None
    memory = instance_memory(instance_class)
    if memory is None:
        found.warn(
            "db_instance_class",
            instance_class,
            "its memory is not known here, so the number of connections was not checked",
            "compare max_connections with tasks x workers x pool size yourself",
        )
        return None
    return max_connections(memory)


def _pool(
    desired: dict[str, Any], workers: int | None, limit: int | None, found: Findings
) -> tuple[int | None, int | None]:
    """Pool size and overflow of each store in each worker."""
    size, overflow = desired.get("db_pool_size"), desired.get("db_max_overflow") or 0
    for option, value in (("db_pool_size", size), ("db_max_overflow", overflow)):
        if value is not None and value < 0:
            found.refuse(
                option, value, "is not a number of connections", "choose 0 or more; a pool size of 0 is chosen for you"
            )
            return None, None
    tasks = desired.get("desired_count")
    if limit is None or workers is None or tasks is None or tasks < 1:
        return (size, overflow) if size else (None, None)
    usable = limit - RESERVED_CONNECTIONS
    pools = tasks * workers * STORES
    sum_shown = f"{_count(tasks, 'task')} x {_count(workers, 'worker')} x {STORES} stores"
    cure = (
        f"choose a larger {found.name('db_instance_class')}, or lower {found.name('desired_count')} or "
        f"{found.name('mlflow_workers')}"
    )
    has = f"the database has about {usable} to give ({limit} less {RESERVED_CONNECTIONS} reserved)"
    if size and size + overflow < LEAST_CONNECTIONS:
        found.refuse(
            "db_pool_size", size, f"MLflow needs {LEAST_CONNECTIONS} connections in a pool",
            f"choose {LEAST_CONNECTIONS}, or set {found.name('db_max_overflow')} to 1, or 0 to have it chosen",
        )
        return None, None
    if size:
        _check_given_pool(size, overflow, pools, usable, f"{sum_shown} x {size + overflow}", has, cure, found)
        return size, overflow
    share = usable // (pools * ROLLING)
    least = pools * LEAST_CONNECTIONS
    if least > usable:
        found.refuse(
            "db_instance_class",
            desired["db_instance_class"],
            f"{sum_shown} x {LEAST_CONNECTIONS} are {least} connections at least, {has}",
            cure,
        )
        return None, None
    if share < LEAST_CONNECTIONS:
        found.warn(
            "db_instance_class",
            desired["db_instance_class"],
            f"under full load a rolling deployment takes {ROLLING} x {sum_shown} x {LEAST_CONNECTIONS}, {least * ROLLING} connections,"
            f" and {has}",
            cure,
        )
    return choose_pool(min(max(share, LEAST_CONNECTIONS), MOST_POOL + MOST_OVERFLOW))


def _check_given_pool(
    size: int, overflow: int, pools: int, usable: int, sum_shown: str, has: str, cure: str, found: Findings
) -> None:
    steady = pools * (size + overflow)
    if steady > usable:
        found.refuse(
            "db_pool_size",
            size,
            f"{sum_shown} are up to {steady} connections, {has}",
            f"lower it, or set it to 0 to have it chosen; or {cure}",
        )
    elif steady * ROLLING > usable:
        found.warn(
            "db_pool_size",
            size,
            f"during a rolling deployment {ROLLING} x {sum_shown} are up to {steady * ROLLING} connections, {has}",
            f"lower it, or set it to 0 to have it chosen; or {cure}",
        )


def _check_database(desired: dict[str, Any], found: Findings) -> None:
    size, most = desired.get("db_allocated_storage"), desired.get("db_max_allocated_storage")
    # PostgreSQL on gp3: 20 to 65536 GiB (RDS user guide, "Amazon RDS storage types").
    if size is not None and not 20 <= size <= 65536:
        found.refuse("db_allocated_storage", size, "RDS gives 20 to 65536 GiB", "choose a size in between")
    if most and not 20 <= most <= 65536:
        found.refuse("db_max_allocated_storage", most, "RDS gives 20 to 65536 GiB", "choose a size in between, or 0")
    elif most and size is not None and most < size:
        found.refuse(
            "db_max_allocated_storage",
            most,
            f"is less than the {size} GiB to start with",
            f"choose {size} or more, or 0 for no growth",
        )
    days = desired.get("db_backup_retention_days")
    if days is not None and not 0 <= days <= 35:
        found.refuse(
            "db_backup_retention_days",
            days,
            "RDS keeps automated backups 0 to 35 days",
            "choose a number of days in between",
        )
    elif days == 0:
        found.warn("db_backup_retention_days", days, "the database has no backups", "choose 7 or more")
