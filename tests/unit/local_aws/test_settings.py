# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from local_aws.latency import SECONDS, Latency
from local_aws.settings import Settings


def test_defaults():
    settings = Settings.from_environment({})
    assert (settings.api_port, settings.latency_scale, settings.endpoint_url) == (4566, 0.0, "http://127.0.0.1:4566")
    assert settings.folder == Path(".local_aws").resolve()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCAL_AWS_PORT", "http"),
        ("LOCAL_AWS_PORT", "0"),
        ("LOCAL_AWS_PORT", "65536"),
        ("LOCAL_AWS_LATENCY_SCALE", "-1"),
        ("LOCAL_AWS_LATENCY_SCALE", "fast"),
        ("LOCAL_AWS_LATENCY_SEED", "x"),
        ("LOCAL_AWS_METRIC_SECONDS", "0"),
        ("LOCAL_AWS_ACCESS_LOG_SECONDS", "0"),
    ],
)
def test_what_is_wrong_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is '?{value}"):
        Settings.from_environment({name: value})


def settings(scale: float, seed: int | None = None) -> Settings:
    return Settings(4566, Path("/nowhere"), scale, seed)


@pytest.mark.parametrize("kind", SECONDS)
def test_scale_zero_makes_everything_at_once(kind):
    assert Latency(settings(0, seed=1)).duration(kind) == 0


@pytest.mark.parametrize("kind", SECONDS)
def test_without_a_seed_it_is_the_median(kind):
    assert Latency(settings(0.5)).duration(kind) == SECONDS[kind][1] * 0.5


@pytest.mark.parametrize("kind", SECONDS)
def test_a_seed_repeats_itself_within_what_aws_takes(kind):
    one, other = Latency(settings(1, seed=7)), Latency(settings(1, seed=7))
    drawn = [one.duration(kind) for _draw in range(20)]
    assert drawn == [other.duration(kind) for _draw in range(20)]
    assert len(set(drawn)) > 1
    assert all(SECONDS[kind][0] <= seconds <= SECONDS[kind][2] for seconds in drawn)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(KeyError):
        Latency(settings(1)).duration("teleport")
