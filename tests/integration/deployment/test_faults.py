# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verification goes red for what is wrong, says so, is green again once it is mended, and leaves nothing behind."""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import subprocess
import threading
import time
import typing as t

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_checks

from tests.integration.deployment import faults, traces
from tests.integration.deployment import proxy as proxies
from tests.integration.deployment.faults import Fault

LONG = pytest.mark.long

ALL = frozenset(mlflow_checks.CHECKS) | {mlflow_checks.CLEANUP}
ALL_API = ALL - {"liveness"}
# What fails for want of a login that works; cleanup has nothing to do then.
NO_LOGIN = ALL_API - {"auth_required", "wrong_password_refused", "default_passwords_refused", "cleanup"}
STORE = frozenset({"artifact_multipart", "cleanup"})
WRITES = frozenset(mlflow_checks.WRITE_CHECKS)

FAULTS = {
    "database stopped": Fault(faults.database_stopped, {"admin_login": "database"}, ALL_API),
    "bucket policy denies the task role": Fault(
        faults.denied("s3:*"), {"artifact_round_trip": "s3:PutObject"}, STORE
    ),
    "artifacts read-only": Fault(
        faults.denied("s3:PutObject"), {"artifact_round_trip": "s3:PutObject|bucket"}, STORE
    ),
    "artifacts write-only": Fault(faults.denied("s3:GetObject"), {"artifact_round_trip": "bucket"}, STORE),
    "artifacts cannot be removed": Fault(faults.denied("s3:DeleteObject"), {"cleanup": "DeleteObject|bucket"}),
    "bucket gone": Fault(faults.bucket_gone, {"artifact_round_trip": "bucket"}, STORE),
    "load balancer without a listener": Fault(faults.listener_gone, {"liveness": "refused"}, ALL),
    "no task runs": Fault(faults.no_task_runs, {"liveness": "503"}, ALL),
    "servers hang": Fault(faults.servers_hang, {"liveness": "no answer in time|HTTP 504"}, ALL),
    "authentication off": Fault(
        faults.redeployed(faults.without_basic_auth), {"auth_required": "authentication is off"}, ALL_API
    ),
    "everybody may edit, and by any host name": Fault(
        faults.redeployed(faults.environment(LAUNCHER_DEFAULT_PERMISSION="EDIT", LAUNCHER_ALLOWED_HOSTS="*")),
        {
            "reader_denied": "may write.*default_permission",
            "stranger_denied": "default_permission is EDIT",
            "wrong_host_refused": "DNS rebinding",
        },
    ),
    "wrong allowed hosts": Fault(
        faults.redeployed(faults.environment(LAUNCHER_ALLOWED_HOSTS="mlflow.example.com")),
        {"admin_login": "allowed hosts"},
        ALL_API,
    ),
    "shipped password": Fault(faults.shipped_password, {"default_passwords_refused": "everybody knows"}),
    "wrong password in Secrets Manager": Fault(
        faults.wrong_password_in_secrets_manager, {"admin_login": "check username and password"}, NO_LOGIN
    ),
    "default experiment deleted": Fault(
        faults.default_experiment_deleted,
        {"default_experiment": "is deleted"},
        WRITES | STORE,
    ),
    "older version than asked for": Fault(faults.asking_for("3.17.3"), {"version": "3.17.2, not 3.17.3"}),
    "wrong path prefix": Fault(faults.wrong_prefix, {"liveness": "404"}, ALL),
    "proxy answers HTML": Fault(faults.behind(faults.login_page), {"liveness": "Sign in to Example Corp"}, ALL),
    "redirect to an identity provider": Fault(
        faults.behind(faults.identity_provider), {"liveness": "redirects.*login.example.com"}, ALL
    ),
    "proxy limits uploads": Fault(
        faults.behind(faults.small_uploads_only), {"artifact_round_trip": "413.*client_max_body_size"}
    ),
    "proxy keeps logins to itself": Fault(faults.behind(faults.keeps_logins), {"admin_login": "password"}, NO_LOGIN),
    "proxy alters downloads": Fault(
        faults.behind(faults.alters_downloads), {"artifact_round_trip": "others came back"}, STORE
    ),
    "proxy writes over Host": Fault(faults.behind_any_host, {"wrong_host_refused": "DNS rebinding"}),
    "proxy without the user interface": Fault(faults.behind(faults.without_static_files), {"ui": "static"}),
    "expired certificate": Fault(faults.behind_tls(-2), {"tls": "has expired on .*renew"}, ALL),
    "certificate that ends soon": Fault(faults.behind_tls(5.5), {"tls": "in 5 days.*renew"}),
    "certificate of somebody else": Fault(faults.behind_tls(90, "192.0.2.1"), {"tls": "not for 127.0.0.1"}, ALL),
    "certificate of nobody": Fault(faults.behind_tls(90, trusted=False), {"tls": "issuer.*not known"}, ALL),
    "slow network": Fault(faults.behind(faults.slow(0.3), fail_ms=250), {"liveness": "took .* more than 250 ms"}, ALL),
    "passwords without encryption": Fault(faults.served_beside_tls, {"http_redirect": "without encryption"}),
}


# These start tasks anew.
SLOW = {"no task runs", "authentication off", "everybody may edit, and by any host name", "wrong allowed hosts"}
# The others are for make test-long.
SEED = 20261123
DRAWN = random.Random(SEED).sample(sorted(set(FAULTS) - SLOW), 2)
SAMPLE = {"bucket policy denies the task role", *DRAWN}
FEW = 5


def green(live, options: dict | None = None) -> dict:
    """The result of a verification that finds nothing wrong."""
    result = faults.health(live, options or {})
    assert not result.get("failed"), result["msg"]
    return result


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in SAMPLE else LONG) for name in FAULTS])
def test_a_fault_is_caught_named_and_over_when_mended(live, tmp_path, name):
    fault = FAULTS[name]
    before = traces.dump(live)
    with fault.inject(live, tmp_path) as options:
        started = time.monotonic()
        result = faults.health(live, options)
        seconds = time.monotonic() - started
    # Mended first, so that a fault which is not caught does not spoil the tests after it.
    faults.until(lambda: not faults.health(live, {}).get("failed"), 60, "getting green again")
    assert traces.dump(live) == before
    failed = faults.failed_checks(result)
    caught = {check: failed.get(check, "passed") for check in fault.red}
    print(f"\n{name}: {seconds:.1f} s: {caught}, also {sorted(set(failed) - set(caught))}")
    for check, words in fault.red.items():
        assert re.search(words, caught[check]), failed
    assert set(failed) <= set(fault.red) | fault.also, failed
    assert "\n" not in result["msg"] and live.admin()[1] not in json.dumps(result)


def test_a_healthy_deployment_is_green_every_time(live):
    before = traces.dump(live)
    for _run in range(FEW):
        green(live)
    assert traces.dump(live) == before


@LONG
def test_no_false_alarm_in_fifty_runs(live):
    before, seconds = traces.dump(live), []
    for _run in range(50):
        started = time.monotonic()
        green(live)
        seconds.append(time.monotonic() - started)
    print(f"\n50 green runs of {min(seconds):.1f} to {max(seconds):.1f} s, together {sum(seconds):.0f} s")
    assert traces.dump(live) == before


def killed_at(live, number: int) -> bool:
    """SIGKILL a verification when its request `number` (from 0) has been answered by the server but not to it yet.

    Whether there was such a request.
    """
    requests, reached, go_on = itertools.count(), threading.Event(), threading.Event()

    def way(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
        mine = next(requests)
        response = forward(request)
        if mine == number:
            reached.set()
            go_on.wait(60)
        return response

    with proxies.proxy(live.outputs()["tracking_uri"], way) as address:
        command = faults.health_command(live, {"tracking_uri": address})
        with subprocess.Popen(command, env=faults.module_environment(), stdout=subprocess.DEVNULL) as process:
            faults.until(lambda: reached.is_set() or process.poll() is not None, 120, "a verification")
            process.send_signal(signal.SIGKILL)
        go_on.set()
    return reached.is_set()


def requests_of_a_run(live) -> int:
    seen = []

    def way(request: proxies.Request, forward: proxies.Forward) -> proxies.Response:
        seen.append(request.path)
        return forward(request)

    with proxies.proxy(live.outputs()["tracking_uri"], way) as address:
        green(live, {"tracking_uri": address})
    return len(seen)


def leaves_nothing_though_killed(live, numbers: t.Iterable[int]) -> None:
    before = traces.dump(live)
    for number in numbers:
        assert killed_at(live, number)
        green(live)
        assert traces.dump(live) == before, f"killed after request {number}"


def test_killed_verifications_are_cleaned_up_by_the_next(live):
    count = requests_of_a_run(live)
    leaves_nothing_though_killed(live, sorted(random.Random(SEED).sample(range(count // 3, count), 3)))


@LONG
def test_verifications_killed_after_any_request_are_cleaned_up(live):
    count = requests_of_a_run(live)
    print(f"\nkilled after each of {count} requests")
    leaves_nothing_though_killed(live, range(count))


@LONG
def test_the_playbook_is_red_and_green(live, tmp_path):
    fault = FAULTS["bucket policy denies the task role"]
    with fault.inject(live, tmp_path):
        red = live.play("verify")
    assert red.returncode != 0
    assert re.search("artifact_round_trip.*bucket", red.stdout, re.DOTALL), red.stdout[-3000:]
    green_again = live.play("verify")
    assert green_again.returncode == 0, green_again.stdout[-3000:]


@LONG
def test_a_killed_task_is_named_while_its_successor_starts(live):
    """Users notice nothing, because the other task serves them: only AWS can tell. On a busy machine the successor may
    serve before the verification looks: then another is killed."""
    for _try in range(3):
        live.aws.kill_a_task(live.name)
        run = live.play("verify")
        faults.await_steady(live, faults.service(live)["taskDefinition"], 2)
        if run.returncode != 0:
            break
    assert run.returncode != 0 and re.search(r"1 of 2 (tasks|targets)", run.stdout), run.stdout[-3000:]
    assert live.play("verify").returncode == 0


@LONG
def test_the_admin_of_mlflow_2_with_its_shipped_password(fraud_scoring, tmp_path):
    with faults.shipped_admin_password(fraud_scoring, tmp_path) as options:
        failed = faults.failed_checks(faults.health(fraud_scoring, options))
        same = faults.health(fraud_scoring, {"password": "password"})
    assert "everybody knows" in failed.pop("default_passwords_refused") and set(failed) <= NO_LOGIN
    # Ansible masks the word wherever it stands, in the name of the check too.
    assert "everybody knows" in same["msg"] and len(faults.failed_checks(same)) == 1
    assert not faults.health(fraud_scoring, {}).get("failed")
