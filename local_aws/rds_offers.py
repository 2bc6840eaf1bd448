# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What RDS for PostgreSQL offers: engine versions, instance classes and their memory.

https://docs.aws.amazon.com/AmazonRDS/latest/PostgreSQLReleaseNotes/postgresql-versions.html
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Concepts.DBInstanceClass.Summary.html
"""

from __future__ import annotations

# Old ones stay, so that a deployment that names one can be tried; AWS itself gives new instances newer ones only.
MINOR_VERSIONS: dict[int, tuple[int, ...]] = {
    13: (15, 16, 18, 20, 21, 22),
    14: (12, 13, 15, 17, 18, 19, 20),
    15: (7, 8, 10, 12, 13, 14, 15),
    16: (3, 4, 6, 8, 9, 10, 11),
    17: (2, 4, 5, 6, 7),
}

# GiB of memory.
_SIZES = {
    "large": 1,
    "xlarge": 2,
    "2xlarge": 4,
    "4xlarge": 8,
    "8xlarge": 16,
    "12xlarge": 24,
    "16xlarge": 32,
    "24xlarge": 48,
}
INSTANCE_MEMORY: dict[str, float] = {
    **{
        f"db.{family}.{size}": memory
        for family in ("t3", "t4g")
        for size, memory in (("micro", 1), ("small", 2), ("medium", 4), ("large", 8), ("xlarge", 16), ("2xlarge", 32))
    },
    **{
        f"db.{family}.{size}": 8.0 * times
        for family in ("m5", "m6g", "m6i", "m7g", "m7i")
        for size, times in _SIZES.items()
    },
    **{
        f"db.{family}.{size}": 16.0 * times
        for family in ("r5", "r6g", "r6i", "r7g", "r7i")
        for size, times in _SIZES.items()
    },
}


def versions() -> list[str]:
    return [f"{major}.{minor}" for major, minors in MINOR_VERSIONS.items() for minor in minors]


def resolve(version: str | None) -> str | None:
    """The full version for `15` or `15.7`; without one, the newest of all; None if it is not offered."""
    offered = versions()
    if not version:
        return offered[-1]
    if version.isdecimal() and int(version) in MINOR_VERSIONS:
        return f"{version}.{MINOR_VERSIONS[int(version)][-1]}"
    return version if version in offered else None


def engine_versions(wanted: str | None = None) -> list[dict]:
    """The items of DescribeDBEngineVersions."""
    offered = versions()
    chosen = [one for one in offered if not wanted or one == wanted or one.split(".")[0] == wanted]
    return [
        {
            "Engine": "postgres",
            "EngineVersion": one,
            "DBParameterGroupFamily": f"postgres{one.split('.')[0]}",
            "DBEngineDescription": "PostgreSQL",
            "DBEngineVersionDescription": f"PostgreSQL {one}",
            "Status": "available",
            "ValidUpgradeTarget": [
                {"Engine": "postgres", "EngineVersion": other, "IsMajorVersionUpgrade": _major(other) != _major(one)}
                for other in offered[offered.index(one) + 1 :]
            ],
        }
        for one in chosen
    ]


def _major(version: str) -> str:
    return version.split(".")[0]


def orderable(version: str | None, instance_class: str | None, zones: list[str]) -> list[dict]:
    """The items of DescribeOrderableDBInstanceOptions."""
    return [
        {
            "Engine": "postgres",
            "EngineVersion": one,
            "DBInstanceClass": name,
            "LicenseModel": "postgresql-license",
            "AvailabilityZones": [{"Name": zone} for zone in zones],
            "MultiAZCapable": True,
            "StorageType": "gp3",
            "SupportsStorageEncryption": True,
            "SupportsPerformanceInsights": True,
            "SupportsStorageAutoscaling": True,
            "MinStorageSize": 20,
            "MaxStorageSize": 65536,
            "Vpc": True,
        }
        for one in versions()
        if not version or one == version
        for name in INSTANCE_MEMORY
        if not instance_class or name == instance_class
    ]


def max_connections(instance_class: str) -> int:
    """LEAST({DBInstanceClassMemory/9531392},5000), the default of RDS for PostgreSQL."""
    memory = INSTANCE_MEMORY[instance_class] * 1024**3
    return int(min(memory / 9531392, 5000))
