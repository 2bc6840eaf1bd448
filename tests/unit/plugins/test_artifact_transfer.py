# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the way of artifacts and the largest of them, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils.artifact_transfer import (
    MODES,
    MOST_IDLE,
    MOST_STORAGE,
    settings,
    silent_seconds,
    storage_gib,
    through_server_mib,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_rules import check

NAMES = {
    "artifact_transfer": "ecs_mlflow_artifact_transfer",
    "largest_artifact_gib": "mlflow_largest_artifact_gib",
    "transfers_at_once": "mlflow_transfers_at_once",
    "idle_timeout": "alb_idle_timeout",
    "ephemeral_storage_gib": "ecs_mlflow_ephemeral_storage_gib",
    "server_environment": "ecs_mlflow_environment",
    "mlflow_version": "mlflow_version",
    "transition_days": "artifacts_transition_days",
    "transition_class": "artifacts_transition_class",
}
PLAIN = {"mlflow_version": "3.17.2", "artifact_transfer": "proxied", "largest_artifact_gib": 1, "transfers_at_once": 4}


def judge(environment=None, **changes):
    found = Findings(NAMES)
    derived = check({**PLAIN, **changes}, found, server_environment=environment)
    return found, derived["transfer"]


def test_the_defaults_need_nothing_that_was_not_there_before():
    found, transfer = judge()
    assert found.problems == found.warnings == []
    assert transfer == {
        "idle_timeout": 60,
        "keep_alive": 620,
        "ephemeral_storage_gib": 20,
        "url_seconds": 300,
        "client_environment": {},
        "largest_request_mib": 1024,
        "bucket_cors": False,
    }


def test_without_a_way_nothing_is_checked():
    found, transfer = judge(artifact_transfer=None, largest_artifact_gib=0, idle_timeout=1)
    assert (found.problems, transfer) == ([], None)


def test_all_grows_with_a_proxied_artifact():
    _found, transfer = judge(largest_artifact_gib=20)
    assert transfer["idle_timeout"] == 20 * 1024 // 25 + 1 + 10 == 830
    assert transfer["keep_alive"] == 850
    assert transfer["ephemeral_storage_gib"] == 6 + 4 * 20
    assert transfer["client_environment"] == {"MLFLOW_HTTP_REQUEST_TIMEOUT": "830"}
    assert transfer["largest_request_mib"] == 20480


def test_presigned_artifacts_spare_the_server_but_for_small_ones():
    found, transfer = judge(artifact_transfer="presigned", largest_artifact_gib=50)
    assert found.problems == found.warnings == []
    assert transfer == {
        "idle_timeout": 60,
        "keep_alive": 620,
        "ephemeral_storage_gib": 20,
        "url_seconds": 2058,
        "client_environment": {
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
            "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
        },
        "largest_request_mib": 500,
        "bucket_cors": True,
    }


def test_addresses_are_good_for_minutes_and_no_longer_than_credentials():
    ttl = [settings("presigned", gib, 1)["url_seconds"] for gib in (1, 5, 10, 1000)]
    assert ttl == [300, 300, 420, 3600]


def test_an_artifact_of_more_than_10000_parts_gets_larger_ones():
    found, transfer = judge(artifact_transfer="presigned", largest_artifact_gib=1000)
    part = int(transfer["client_environment"]["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"])
    assert part % 2**20 == 0 and part * 10000 >= 1000 * 2**30 > (part - 2**20) * 10000
    assert found.problems == []
    assert "must upload 285 MiB a second" in found.warnings[0]


def test_what_is_given_and_suffices_is_kept():
    _found, transfer = judge(idle_timeout=300, ephemeral_storage_gib=100)
    assert (transfer["idle_timeout"], transfer["keep_alive"], transfer["ephemeral_storage_gib"]) == (300, 620, 100)
    assert transfer["client_environment"] == {"MLFLOW_HTTP_REQUEST_TIMEOUT": "300"}
    _found, transfer = judge(idle_timeout=4000)
    assert transfer["keep_alive"] > 4000


# changes, the variable named, a part of the reason, a part of the remedy
BAD = [
    ({"artifact_transfer": "direct"}, "ecs_mlflow_artifact_transfer", "is not a way", "choose one of proxied, presigned"),
    ({"largest_artifact_gib": 0}, "mlflow_largest_artifact_gib", "nothing could be transferred", "choose 1 or more"),
    ({"transfers_at_once": -1}, "mlflow_transfers_at_once", "nothing could be transferred", "choose 1 or more"),
    (
        {"artifact_transfer": "presigned", "mlflow_version": "2.18.0"},
        "ecs_mlflow_artifact_transfer",
        "MLflow 2.18.0 signs no addresses to download from",
        "choose proxied, or a mlflow_version of 3.17 or newer",
    ),
    (
        {"artifact_transfer": "presigned", "largest_artifact_gib": 50001},
        "mlflow_largest_artifact_gib",
        "10000 parts of 5 GiB",
        "choose 50000 or less",
    ),
    (
        {"largest_artifact_gib": 98, "transfers_at_once": 1},
        "mlflow_largest_artifact_gib",
        "waits 4000 s at most",
        "choose 97 or less, or set ecs_mlflow_artifact_transfer to presigned",
    ),
    (
        {"largest_artifact_gib": 50},
        "mlflow_largest_artifact_gib",
        "a task that holds 4 files of 51200 MiB (mlflow_transfers_at_once) needs 206 GiB",
        "choose 48 or less, or lower mlflow_transfers_at_once, or set ecs_mlflow_artifact_transfer to presigned",
    ),
    (
        {"transfers_at_once": 400},
        "mlflow_largest_artifact_gib",
        "a task that holds 400",
        "lower mlflow_transfers_at_once, or set",
    ),
    (
        {"artifact_transfer": "presigned", "transfers_at_once": 400},
        "mlflow_largest_artifact_gib",
        "a task that holds 400 files of 500 MiB",
        "lower mlflow_transfers_at_once",
    ),
    (
        {"largest_artifact_gib": 10, "idle_timeout": 60},
        "alb_idle_timeout",
        "silent for about 420 s while a task copies 10240 MiB (mlflow_largest_artifact_gib = 10)",
        "lower mlflow_largest_artifact_gib",
    ),
    ({"idle_timeout": 4001}, "alb_idle_timeout", "waits 1 to 4000 s", "leave it out"),
    ({"idle_timeout": -5}, "alb_idle_timeout", "waits 1 to 4000 s", "leave it out"),
    ({"ephemeral_storage_gib": 201}, "ecs_mlflow_ephemeral_storage_gib", "20 to 200 GiB", "leave it out"),
    (
        {"largest_artifact_gib": 10, "ephemeral_storage_gib": 40},
        "ecs_mlflow_ephemeral_storage_gib",
        "4 files of 10240 MiB (mlflow_largest_artifact_gib = 10, mlflow_transfers_at_once = 4) needs 46 GiB",
        "lower mlflow_transfers_at_once",
    ),
    (
        {"environment": {"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": True}},
        "ecs_mlflow_environment",
        "contradicts ecs_mlflow_artifact_transfer = proxied",
        "set ecs_mlflow_artifact_transfer to presigned",
    ),
    (
        {"artifact_transfer": "presigned", "environment": {"MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "0"}},
        "ecs_mlflow_environment",
        "contradicts ecs_mlflow_artifact_transfer = presigned",
        "set ecs_mlflow_artifact_transfer to proxied",
    ),
    (
        {"environment": {"MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS": "700000"}},
        "ecs_mlflow_environment",
        "good for 1 to 604800 s",
        "remove it",
    ),
]


@pytest.mark.parametrize(("changes", "variable", "reason", "remedy"), BAD)
def test_refusals_name_both_sides_of_a_contradiction(changes, variable, reason, remedy):
    found, transfer = judge(**changes)
    assert transfer is None and len(found.problems) == 1, found.problems
    assert found.problems[0].startswith(f"{variable} = ")
    because, _semicolon, instead = found.problems[0].partition("; ")
    assert reason in because and remedy in instead


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"transition_days": -1}, "artifacts_transition_days = -1: is no number of days"),
        ({"transition_days": 7, "transition_class": "STANDARD_IA"}, "artifacts_transition_days = 7: S3 moves objects to STANDARD_IA"),
        ({"transition_class": "GLACIER"}, "artifacts_transition_class = 'GLACIER': its objects must be restored"),
    ],
)
def test_a_storage_class_that_cannot_be_is_refused(changes, problem):
    found, _transfer = judge(**changes)
    assert len(found.problems) == 1 and found.problems[0].startswith(problem)
    assert judge(transition_days=30, transition_class="STANDARD_IA")[0].problems == []


def test_no_number_is_refused_like_every_other():
    found, _transfer = judge(largest_artifact_gib="2 GiB")
    assert found.problems == [
        "mlflow_largest_artifact_gib = '2 GiB': is not a whole number; write digits only, without a unit"
    ]


def test_settings_that_agree_are_fine():
    assert judge({"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false"})[0].problems == []
    given = {"MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS": 600, "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true"}
    found, _transfer = judge(given, artifact_transfer="presigned")
    assert found.problems == found.warnings == []


@pytest.mark.parametrize(("seconds", "text"), [(86400, "no longer than the credentials"), (30, "may take longer")])
def test_a_given_life_of_addresses_that_does_not_fit_is_warned_of(seconds, text):
    found, transfer = judge({"MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS": seconds}, artifact_transfer="presigned")
    assert found.problems == [] and transfer is not None
    assert text in found.warnings[0] and "ecs_mlflow_environment" in found.warnings[0]


def test_an_unknown_version_is_told_once():
    found, _transfer = judge(mlflow_version="3", artifact_transfer="presigned")
    assert len(found.problems) == 1 and found.problems[0].startswith("mlflow_version = ")


@hypothesis_settings(deadline=None)
@given(
    st.sampled_from(MODES), st.integers(0, 100000), st.integers(0, 500), st.integers(0, 5000), st.integers(0, 300)
)
def test_what_is_not_refused_fits_together(mode, largest, at_once, idle, storage):
    found, transfer = judge(
        artifact_transfer=mode, largest_artifact_gib=largest, transfers_at_once=at_once, idle_timeout=idle,
        ephemeral_storage_gib=storage,
    )  # fmt: skip
    assert (transfer is None) == bool(found.problems)
    if transfer:
        mib = through_server_mib(mode, largest)
        assert silent_seconds(mib) <= transfer["idle_timeout"] <= MOST_IDLE
        assert transfer["idle_timeout"] < transfer["keep_alive"]
        assert max(20, storage_gib(mib, at_once)) <= transfer["ephemeral_storage_gib"] <= MOST_STORAGE
        assert transfer["idle_timeout"] in (idle or transfer["idle_timeout"],)
        timeout = int(transfer["client_environment"].get("MLFLOW_HTTP_REQUEST_TIMEOUT", 120))
        assert timeout >= transfer["idle_timeout"]
