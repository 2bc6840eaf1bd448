# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The default inventory from the first run to the last, in the order of this file."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.integration.aws import ROOT
from tests.integration.deployment import pages
from tests.integration.deployment.spending import overspent

HERE = Path(__file__).parent
DOCUMENTATION = "https://github.com/mlops/mlflow_aws/blob/main/"


def request(url: str, user: tuple[str, str] | None = None, timeout: float = 30, **more) -> int:
    """The status of one request, 0 when there was no answer."""
    headers = dict(more.pop("headers", {}))
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers, **more), timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_outputs_name_everything_and_no_secret(demo):
    outputs = demo.outputs()
    assert set(outputs) == {
        "name", "region", "aws_endpoint_url", "mlflow_version", "tracking_uri", "alb_dns_name", "cluster_name", "service_name",
        "target_group_arn", "db_instance_id", "bucket", "artifact_root", "log_group", "admin_username", "admin_secret_arn",
        "db_secret_arn",
    }  # fmt: skip
    assert all(outputs.values())
    settings = (demo.directory / demo.name / "client.env").read_text()
    assert f"MLFLOW_TRACKING_URI={outputs['tracking_uri']}" in settings
    assert demo.admin()[1] not in settings + json.dumps(outputs)
    # Without the database, whose class has no price in this region.
    told = " ".join(demo.first_output.split())
    assert re.search(r"About \d+\.\d\d USD a month in eu-west-2, at prices of [\d-]+; no price for Database db.t3.small ", told)


def test_the_first_run_spends_what_it_is_granted(demo):
    assert overspent("first run", demo.first_output, demo.first_calls) == []


def test_the_timeline_of_the_first_run_can_be_read(demo, browser):
    picture = demo.directory / demo.name / "timeline.svg"
    assert f"The timeline of {demo.name}: {picture}" in demo.first_output
    output = Path(__file__).parents[2] / "output"
    output.mkdir(exist_ok=True)
    assert pages.unreadable(browser, picture, output / "timeline.png") == []
    for row in ("AWS: database", "AWS: NAT gateways", "AWS: load balancer", "ecs_mlflow: Run the tasks and wait until they are steady"):
        assert f"<title>{row}, " in picture.read_text()


def files_with(words: tuple[str, ...], folder: Path) -> list[str]:
    left_out = {".git", ".venv", ".cache"}
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and not left_out & set(path.parts)]
    found = []
    for path in files:
        # Other tests that run at the same time leave and take compiled files.
        with contextlib.suppress(FileNotFoundError):
            if any(word.encode() in path.read_bytes() for word in words):
                found.append(str(path))
    return found


def test_given_passwords_are_found_nowhere(demo):
    """Not in the output at -vvv, the log, the task definition, a command line or a file; but in Secrets Manager."""
    assert demo.admin()[1] == demo.canaries[0]
    definition = demo.client("ecs").describe_task_definition(taskDefinition=demo.name)
    pages = demo.client("logs").get_paginator("filter_log_events").paginate(logGroupName=f"/ecs/{demo.name}")
    events = [event["message"] for page in pages for event in page["events"]]
    assert events
    commands = [" ".join(process.cmdline()) for process in demo.aws.processes()]
    recorded = (demo.aws.directory / "api.jsonl").read_text()
    everything = [demo.first_output, json.dumps(definition, default=str), *events, *commands, recorded]
    assert [text[:200] for text in everything if any(word in text for word in demo.canaries)] == []
    assert files_with(demo.canaries, HERE.parents[2]) == []
    assert files_with(demo.canaries, demo.directory) == []


def test_unmodified_client_writes_and_reads_back(demo, mlflow_env):
    username, password = demo.admin()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(demo.directory),
        "MLFLOW_TRACKING_URI": demo.outputs()["tracking_uri"],
        "MLFLOW_TRACKING_USERNAME": username,
        "MLFLOW_TRACKING_PASSWORD": password,
    }
    python = mlflow_env("3.17.2") / "bin" / "python"
    run = subprocess.run(
        [str(python), str(HERE / "client.py"), "50"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert "1 model version" in run.stdout


def test_second_run_changes_nothing(demo, changed):
    before = len(demo.aws.api_calls())
    run = demo.play("site")
    assert run.returncode == 0, run.stdout[-6000:]
    assert changed(run) == 0, run.stdout
    assert demo.aws.writes(before) == []
    assert overspent("run without changes", run.stdout, demo.aws.api_calls()[before:]) == []


def test_check_mode_on_the_live_deployment(demo, changed):
    before = len(demo.aws.api_calls())
    run = demo.play("site", "--check")
    assert run.returncode == 0, run.stdout[-6000:]
    assert changed(run) == 0, run.stdout
    assert demo.aws.writes(before) == []
    assert overspent("check mode", run.stdout, demo.aws.api_calls()[before:]) == []


def test_status_for_people_and_for_programs(demo):
    table = demo.play("status")
    assert table.returncode == 0, table.stdout
    assert "2 of 2 tasks running" in table.stdout and "healthy" in table.stdout
    as_json = demo.play("status", "-e", "status_format=json")
    assert "'running_count': 2" in as_json.stdout.replace('"', "'") or "running_count: 2" in as_json.stdout


def test_logs_show_the_servers_lines(demo):
    run = demo.play("logs", "-e", "since=1h")
    assert run.returncode == 0, run.stdout
    assert "Application startup complete" in run.stdout


def test_user_can_log_in_at_every_task(demo, run_ad_hoc):
    username, password = demo.admin()
    uri = demo.outputs()["tracking_uri"]
    made = run_ad_hoc(
        "mlops.mlflow_aws.mlflow_user",
        {
            "tracking_uri": uri,
            "username": username,
            "password": password,
            "name": "newcomer",
            "user_password": "a long enough password",
        },
    )
    assert made["changed"]
    statuses = [request(f"{uri}/version", ("newcomer", "a long enough password")) for _try in range(40)]
    assert statuses == [200] * 40


def user_secret(demo, name: str) -> str:
    found = demo.client("secretsmanager").get_secret_value(SecretId=f"{demo.name}/users/{name}")
    return json.loads(found["SecretString"])["password"]


def create_run(uri: str, user: tuple[str, str]) -> int:
    """The status of creating a run in the default experiment."""
    headers = {"Content-Type": "application/json"}
    return request(f"{uri}/api/2.0/mlflow/runs/create", user, data=b'{"experiment_id": "0"}', headers=headers)


def test_users_and_grants_as_code(demo, changed, tmp_path):
    given = "given to the training pipeline"
    declared = tmp_path / "users.json"
    declared.touch(mode=0o600)
    declared.write_text(
        json.dumps(
            {
                "access_users": [{"name": "ada"}, {"name": "alan"}, {"name": "training-pipeline", "password": given}],
                "access_groups": [{"name": "scoring", "members": ["ada", "training-pipeline"]}],
                "access_grants": [{"group": "scoring", "experiment": "Def*", "permission": "EDIT"}],
            }
        )
    )

    def users(*options: str) -> subprocess.CompletedProcess[str]:
        run = demo.play("users", "-e", f"@{declared}", *options)
        assert run.returncode == 0, run.stdout[-6000:]
        return run

    uri, calls = demo.outputs()["tracking_uri"], len(demo.aws.api_calls())
    assert changed(users("--check")) > 0 and demo.aws.writes(calls) == []
    output = users("-vvv").stdout
    ada = ("ada", user_secret(demo, "ada"))
    assert given not in output and ada[1] not in output
    assert [create_run(uri, user) for user in (ada, ("training-pipeline", given))] == [200, 200]
    assert create_run(uri, ("alan", user_secret(demo, "alan"))) == 403

    calls = len(demo.aws.api_calls())
    assert changed(users()) == 0 and demo.aws.writes(calls) == []

    # As a rotation that broke off leaves it: stored, and not taken by the server.
    secret = {"username": "ada", "password": "the-password-to-come-12345"}
    demo.client("secretsmanager").put_secret_value(
        SecretId=f"{demo.name}/users/ada", SecretString=json.dumps(secret), VersionStages=["AWSPENDING"]
    )
    assert user_secret(demo, "ada") == ada[1]
    users()
    assert user_secret(demo, "ada") == secret["password"] and create_run(uri, ("ada", secret["password"])) == 200

    users("-e", '{"access_rotate": ["ada"]}')
    rotated = ("ada", user_secret(demo, "ada"))
    assert rotated[1] != secret["password"] and create_run(uri, rotated) == 200
    # Workers that have seen the earlier password take it until their cache forgets it.
    deadline = time.monotonic() + 90
    while [request(f"{uri}/version", ("ada", secret["password"])) for _try in range(6)] != [401] * 6:
        assert time.monotonic() < deadline
        time.sleep(2)


def test_killed_task_is_replaced_under_load(demo):
    uri = demo.outputs()["tracking_uri"]
    user = demo.admin()
    answers: list[tuple[float, int]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append((time.monotonic(), request(f"{uri}/version", user, timeout=10)))
            time.sleep(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        victim = demo.aws.kill_a_task(demo.name)
        killed = time.monotonic()
        deadline = killed + 240
        while time.monotonic() < deadline:
            time.sleep(1)
            if healthy_without(demo, victim) == 2:
                break
        seconds = time.monotonic() - killed
    finally:
        stop.set()
        thread.join()
    failed = [moment for moment, status in answers if status != 200]
    print(f"\n{len(failed)} of {len(answers)} requests failed, the last {max(failed, default=killed) - killed:.1f} s after the kill;"
          f" two healthy targets after {seconds:.0f} s")
    assert healthy_without(demo, victim) == 2
    assert max(failed, default=killed) - killed < 30


def healthy_without(demo, address: str) -> int:
    answer = demo.client("elbv2").describe_target_health(TargetGroupArn=demo.outputs()["target_group_arn"])
    states = {one["Target"]["Id"]: one["TargetHealth"]["State"] for one in answer["TargetHealthDescriptions"]}
    states.pop(address, None)
    return list(states.values()).count("healthy")


def test_ui_answers_in_a_browser(demo, browser, tmp_path):
    username, password = demo.admin()
    scheme, rest = demo.outputs()["tracking_uri"].split("://")
    # A page whose address holds a login may not fetch: log in there, then open the plain address.
    browser.get(f"{scheme}://{username}:{password}@{rest}/version")
    browser.get(f"{scheme}://{rest}/#/experiments")
    deadline = time.monotonic() + 60
    while "Default" not in browser.page_source and time.monotonic() < deadline:
        time.sleep(0.5)
    output = Path(__file__).parents[2] / "output"
    output.mkdir(exist_ok=True)
    browser.save_screenshot(str(output / "ui.png"))
    assert "MLflow" in browser.title
    assert "couldn't load" not in browser.page_source
    assert "Default" in browser.page_source


def push_figures(demo) -> None:
    """What the load balancer and the database of this AWS do not measure themselves."""
    outputs = demo.outputs()
    balancer = demo.client("elbv2").describe_load_balancers(Names=[demo.name])["LoadBalancers"][0]["LoadBalancerArn"]
    of_balancer = {"LoadBalancer": balancer.partition(":loadbalancer/")[2]}
    moment = time.time() - 900
    data = [
        {"namespace": namespace, "metric": metric, "dimensions": dimensions, "values": values, "timestamp": moment}
        for namespace, metric, dimensions, values in (
            ("AWS/ApplicationELB", "RequestCount", of_balancer, [1, 1, 1, 1]),
            ("AWS/ApplicationELB", "TargetResponseTime", of_balancer, [0.02, 0.04, 0.06, 0.5]),
            ("AWS/RDS", "CPUUtilization", {"DBInstanceIdentifier": outputs["db_instance_id"]}, [12.5]),
        )
    ]
    request = urllib.request.Request(f"{demo.aws.endpoint_url}/local-aws/metrics", json.dumps(data).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer) == {"values": 9}


def secret_values(demo) -> list[str]:
    client = demo.client("secretsmanager")
    found = []
    for secret in client.list_secrets()["SecretList"]:
        document = json.loads(client.get_secret_value(SecretId=secret["ARN"])["SecretString"])
        found += [value for key, value in document.items() if key != "username"]
    return found


def test_report_says_how_it_is(demo, changed):
    push_figures(demo)
    # Within a period of five minutes the report of the same deployment stays the same.
    while time.time() % 300 > 240:
        time.sleep(1)
    before = len(demo.aws.api_calls())
    run = demo.play("report")
    assert run.returncode == 0, run.stdout[-6000:]
    assert changed(run) == 1, run.stdout
    calls = demo.aws.api_calls()[before:]
    assert demo.aws.writes(before) == [] and not [one for one in calls if one["action"] == "GetSecretValue"]
    folder = demo.directory / demo.name
    page, text = (folder / name for name in ("report.html", "report.md"))
    written = page.read_bytes(), text.read_bytes()
    for one in (page.read_text(), text.read_text()):
        assert "Works" in one and "2 of 2 tasks running" in one and demo.outputs()["tracking_uri"] in one
        assert "434 ms" in one and "p50 50 ms" in one and "12.5 %" in one and "DB instance created" in one
        assert "make status ENV=local" in one and "console.aws" not in one
        assert [value for value in [*secret_values(demo), *demo.canaries] if value in one] == []
    assert r"\|" not in text.read_text() and "(service mlflow-demo)" in text.read_text()

    again = demo.play("report", "--check")
    assert again.returncode == 0 and changed(again) == 0, again.stdout
    assert (page.read_bytes(), text.read_bytes()) == written


def test_report_in_a_browser(demo, browser):
    page = demo.directory / demo.name / "report.html"
    output = Path(__file__).parents[2] / "output"
    output.mkdir(exist_ok=True)
    for width in (360, 768, 1440):
        assert pages.faults(browser, page, width, output / f"report-{width}.png") == []
    links = browser.execute_script(pages.LINKS)
    addresses = [one for one in links if not one.startswith(DOCUMENTATION)]
    assert set(addresses) == {demo.outputs()["tracking_uri"]} and {request(one) for one in addresses} <= {200, 401}
    assert [one for one in links if one.startswith(DOCUMENTATION) and not (ROOT / one.removeprefix(DOCUMENTATION)).is_file()] == []
    # As wide as A4 within its margins.
    assert pages.faults(browser, page, 688, media="print") == []
    pdf = pages.printed(browser)
    assert pdf.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6


def test_destroy_needs_the_name(demo):
    run = demo.play("destroy", "-e", "confirm_destroy=other")
    assert run.returncode != 0
    assert "confirm_destroy is 'other'" in run.stdout
    assert demo.tagged()


def test_destroy_leaves_nothing_but_what_it_keeps(demo, changed):
    bucket = demo.outputs()["bucket"]
    objects = demo.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"]
    assert objects
    before = len(demo.aws.api_calls())
    run = demo.play("destroy", "-e", f"confirm_destroy={demo.name}")
    assert run.returncode == 0, run.stdout[-6000:]
    assert overspent("destroy", run.stdout, demo.aws.api_calls()[before:]) == []
    left = [arn for arn in demo.tagged() if ":snapshot:" not in arn and not arn.startswith("arn:aws:s3:::")]
    assert left == []
    assert demo.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == objects
    again = demo.play("destroy", "-e", f"confirm_destroy={demo.name}")
    assert again.returncode == 0, again.stdout[-6000:]
    assert changed(again) == 0, again.stdout


@pytest.mark.usefixtures("demo")
def test_check_mode_on_an_empty_account(empty_account):
    run = empty_account.play("site", "--check")
    assert run.returncode == 0, run.stdout[-6000:]
    assert empty_account.aws.writes() == []
