# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance of the local AWS is told from outside."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

DEFAULT_PORT = 4566


@dataclasses.dataclass(frozen=True)
class Settings:
    """`latency_scale` 0 makes everything at once, 1 takes as long as AWS.

    Metrics are `metric_seconds` apart, deliveries of access logs `access_log_seconds`.
    """

    api_port: int
    folder: Path
    latency_scale: float = 0.0
    latency_seed: int | None = None
    metric_seconds: float = 60.0
    # File with a JSON list of policies: whoever calls from outside may do what they allow and no more.
    operator_policies: Path | None = None
    access_log_seconds: float = 300.0
    account_id: str = "123456789012"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """From LOCAL_AWS_PORT, _DIR, _LATENCY_SCALE, _LATENCY_SEED, _METRIC_SECONDS, _ACCESS_LOG_SECONDS,
        _OPERATOR_POLICIES.

        ValueError names the bad one.
        """
        environment = os.environ if environment is None else environment
        port = _number(environment, "LOCAL_AWS_PORT", int, DEFAULT_PORT)
        if not 1 <= port <= 65535:
            raise ValueError(f"LOCAL_AWS_PORT is {port}: a TCP port is between 1 and 65535")
        scale = _number(environment, "LOCAL_AWS_LATENCY_SCALE", float, 0.0)
        if not 0 <= scale <= 100:
            raise ValueError(
                f"LOCAL_AWS_LATENCY_SCALE is {scale}: give 0 (no delays) to 1 (as slow as AWS), at most 100"
            )
        policies = environment.get("LOCAL_AWS_OPERATOR_POLICIES", "")
        if policies and not Path(policies).is_file():
            raise ValueError(f"LOCAL_AWS_OPERATOR_POLICIES is '{policies}': there is no such file")
        seconds = {}
        for name, default in (("LOCAL_AWS_METRIC_SECONDS", 60.0), ("LOCAL_AWS_ACCESS_LOG_SECONDS", 300.0)):
            seconds[name] = _number(environment, name, float, default)
            if not 1 <= seconds[name] <= 300:
                raise ValueError(f"{name} is {seconds[name]}: give 1 to 300 seconds")
        return cls(
            api_port=port,
            folder=Path(environment.get("LOCAL_AWS_DIR") or ".local_aws").resolve(),
            latency_scale=scale,
            latency_seed=_number(environment, "LOCAL_AWS_LATENCY_SEED", int, None),
            operator_policies=Path(policies).resolve() if policies else None,
            metric_seconds=seconds["LOCAL_AWS_METRIC_SECONDS"],
            access_log_seconds=seconds["LOCAL_AWS_ACCESS_LOG_SECONDS"],
        )

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def api_log(self) -> Path:
        return self.folder / "api.jsonl"


def _number(environment: Mapping[str, str], name: str, kind: type, default):
    text = environment.get(name, "")
    if not text:
        return default
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} is '{text}': it must be a number") from None
