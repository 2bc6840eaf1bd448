# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`cost.yml` needs no account; profiles give what the inventory leaves open; docs/cost.md shows what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from tests.integration.aws import ROOT

# Whoever called AWS would get no answer there, and has nothing to log in with.
NOWHERE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
PEOPLE = [{"protocol": "email", "endpoint": "ops@example.com"}]
CONNECTION = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}


def cost(inventory: Path, **extra_vars: t.Any) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ANSIBLE_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["ansible-playbook", "-i", str(inventory), "playbooks/cost.yml", "-e", json.dumps(extra_vars)],
        cwd=ROOT,
        env={**kept, **NOWHERE, "PATH": path, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def told(run: subprocess.CompletedProcess[str]) -> dict[str, t.Any]:
    """host -> what the last task told about it."""
    found = {}
    for part in run.stdout.split("TASK [Tell what it costs]")[-1].split("\nok: [")[1:]:
        host, _arrow, result = part.partition("] => ")
        found[host] = json.JSONDecoder().raw_decode(result)[0]["msg"]
    return found


@pytest.fixture
def inventory(tmp_path: Path) -> t.Callable[..., Path]:
    def write(**hosts: dict[str, t.Any]) -> Path:
        path = tmp_path / "hosts.yml"
        group = {"hosts": hosts, "vars": {**CONNECTION, "aws_region": "eu-west-2"}}
        path.write_text(yaml.safe_dump({"mlflow_deployments": group}))
        return path

    return write


def quantity(outputs: dict, item: str) -> float:
    return next(line["quantity"] for line in outputs["items"] if line["item"].startswith(item))


def test_profiles_give_what_the_inventory_leaves_open(inventory: t.Callable[..., Path]) -> None:
    hosts = inventory(
        bare={},
        ha={"mlflow_profile": "ha"},
        own={"mlflow_profile": "ha", "ecs_mlflow_desired_count": 4, "rds_multi_az": False, "network_nat_mode": "none"},
        elsewhere={"mlflow_profile": "dev", "aws_region": "af-south-1"},
        watched={"monitoring_subscriptions": PEOPLE, "tls_domain_name": "mlflow.example.com", "mlflow_autoscaling": True},
        less={"monitoring_subscriptions": PEOPLE, "monitoring_dashboard": False, "cost_alarms": 3},
        odd={"mlflow_profile": "huge"},
    )
    run = cost(hosts, cost_format="json", ecs_mlflow_cpu=2048, ecs_mlflow_memory="4096")
    outputs = told(run)
    assert outputs.keys() == {"bare", "ha", "own", "elsewhere", "watched", "less"}, run.stdout
    # What -e says counts for all, also where the profile says otherwise.
    tasks = {host: quantity(outputs[host], "Fargate processors") / 730 / 2 for host in ("bare", "ha", "own")}
    assert tasks == {"bare": 2, "ha": 3, "own": 4}
    assert {host: quantity(outputs[host], "Database storage") for host in tasks} == {"bare": 20, "ha": 100, "own": 50}
    assert quantity(outputs["ha"], "NAT gateways") == 3 * 730
    assert not any(line["item"] == "NAT gateways" for line in outputs["own"]["items"])
    assert quantity(outputs["own"], "Database db.t4g.medium") == 730
    # Nine of a deployment, those of hosts, connections and certificate, two of the automatic scaling.
    assert (quantity(outputs["watched"], "Alarms"), quantity(outputs["watched"], "Dashboards")) == (14, 1)
    assert quantity(outputs["less"], "Alarms") == 3
    assert not any(line["item"] in ("Alarms", "Dashboards") for line in outputs["bare"]["items"])
    assert not any(line["item"] == "Dashboards" for line in outputs["less"]["items"])
    assert outputs["elsewhere"]["monthly_usd"] is None and "af-south-1" in outputs["elsewhere"]["missing"][0]
    assert run.returncode != 0
    refused = run.stdout.split("fatal: [odd]")[1].split("\n\n")[0]
    assert "mlflow_profile = huge: is not a profile; choose one of dev, standard, ha, or leave it out" in refused


def test_the_document_shows_what_the_playbook_prints(inventory: t.Callable[..., Path]) -> None:
    document = (ROOT / "docs/cost.md").read_text()
    reference = told(cost(ROOT / "inventories/fraud_scoring", cost_format="markdown"))["fraud-scoring-mlflow"]
    assert "\n".join(reference) in document
    # A profile that is applied changes nothing in the comparison.
    hosts = inventory(team={"mlflow_profile": "ha"})
    profiles = told(cost(hosts, cost_format="markdown", cost_compare=True))["team"]
    assert "\n".join(profiles) in document
