# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a request is sent again, and after how long."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_retry
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("status", "kind", "repeatable", "again"),
    [
        (None, "refused", False, True),
        (None, "name", False, True),
        (None, "timeout", False, False),
        (None, "timeout", True, True),
        (None, "connection", False, False),
        (None, "connection", True, True),
        (None, "tls", True, False),
        (429, "", False, True),
        (503, "", False, False),
        (502, "", True, True),
        (503, "", True, True),
        (504, "", True, True),
        (500, "", True, False),
        (200, "", True, False),
        (401, "", True, False),
    ],
)
def test_only_what_is_safe_is_sent_again(status, kind, repeatable, again):
    assert mlflow_retry.may_repeat(status, kind, repeatable) is again


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value, seconds):
    assert mlflow_retry.retry_after(value, now=60.0) == seconds


@given(value=st.text())
def test_any_retry_after_is_read_or_ignored(value):
    seconds = mlflow_retry.retry_after(value, now=0.0)
    assert seconds is None or seconds >= 0


@given(attempt=st.integers(0, 10000), jitter=st.floats(0, 1, exclude_max=True))
def test_pauses_are_bounded(attempt, jitter):
    assert mlflow_retry.FIRST_PAUSE / 2 <= mlflow_retry.pause(attempt, None, jitter) <= mlflow_retry.LONGEST_PAUSE


@given(attempt=st.integers(0, 20), asked=st.floats(0, 1000), jitter=st.floats(0, 1, exclude_max=True))
def test_nobody_comes_before_the_time_asked_for(attempt, asked, jitter):
    assert mlflow_retry.pause(attempt, asked, jitter) >= asked
