# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CORS rule a browser's request meets."""

from __future__ import annotations

import pytest
from local_aws.cors_rules import VARY, Rule, answer

UPLOADS = Rule(("https://mlflow.example.com",), ("GET", "PUT"), ("*",), ("ETag",), "600")
READERS = Rule(("https://*.example.org", "*"), ("GET",), ("x-amz-*",))


def test_the_answer_names_origin_methods_and_headers():
    assert answer([UPLOADS], "https://mlflow.example.com", "PUT", "Content-Type, x-amz-date") == {
        "Access-Control-Allow-Origin": "https://mlflow.example.com",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Headers": "content-type, x-amz-date",
        "Access-Control-Expose-Headers": "ETag",
        "Access-Control-Max-Age": "600",
        "Access-Control-Allow-Credentials": "true",
        "Vary": VARY,
    }


def test_the_first_rule_that_fits_counts():
    found = answer([READERS, UPLOADS], "https://mlflow.example.com", "GET")
    assert found["Access-Control-Allow-Origin"] == "*" and "Access-Control-Allow-Credentials" not in found
    assert answer([READERS, UPLOADS], "https://mlflow.example.com", "PUT")["Access-Control-Max-Age"] == "600"
    assert answer([READERS], "https://a.example.org", "GET")["Access-Control-Allow-Origin"] == "https://a.example.org"


@pytest.mark.parametrize(
    ("rules", "origin", "method", "wanted"),
    [
        ([], "https://mlflow.example.com", "GET", ""),
        ([UPLOADS], "https://mlflow.example.com.evil.net", "GET", ""),
        ([UPLOADS], "http://mlflow.example.com", "GET", ""),
        ([UPLOADS], "https://mlflow.example.com", "DELETE", ""),
        ([READERS], "https://a.example.org", "GET", "x-amz-date, range"),
    ],
)
def test_no_rule_no_answer(rules, origin, method, wanted):
    assert answer(rules, origin, method, wanted) is None
