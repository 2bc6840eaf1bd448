# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of a deployment: what is counted, that it sums up, and that nothing is invented."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import cost_estimate, cost_prices, deployment_rules
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.cost_estimate import estimate, task_hours
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.deployment_findings import Findings
from ansible_collections.mlops.mlflow_aws.plugins.modules import deployment_cost

ROOT = Path(__file__).resolve().parents[3]
PROFILES = yaml.safe_load((ROOT / "playbooks/vars/profiles.yml").read_text())
REGIONS = sorted(cost_prices.PRICES)
OFFICE = {"weekdays": "MON-FRI", "start": "08:00", "stop": "20:00"}
COUNTED = sorted(name for name, value in cost_estimate.DEFAULTS.items() if isinstance(value, int) and not isinstance(value, bool))
CLASSES = ["db.t3.micro", "db.t4g.micro", "db.t4g.small", "db.t4g.medium", "db.r6g.large", "db.x9.huge"]
SETTINGS = st.fixed_dictionaries(
    {
        **{name: st.integers(0, 50) for name in COUNTED},
        "task_cpu": st.sampled_from([256, 1024, 4096]),
        "task_memory": st.sampled_from([512, 2048, 30720]),
        "task_cpu_architecture": st.sampled_from(["X86_64", "ARM64"]),
        "task_spot": st.booleans(),
        "office_hours": st.sampled_from([{}, OFFICE]),
        "db_instance_class": st.sampled_from(CLASSES),
        "db_multi_az": st.booleans(),
        "subnet_cidrs": st.lists(st.just("subnet"), min_size=2, max_size=4),
        "nat_mode": st.sampled_from(["none", "single", "per_zone"]),
        "public_load_balancer": st.booleans(),
    }
)


def lines(region: str = "eu-west-2", **settings: t.Any) -> dict[str, dict]:
    return {line["item"]: line for line in estimate(region, settings)["items"]}


@given(st.sampled_from(REGIONS), SETTINGS)
def test_it_sums_up_and_nothing_is_below_zero(region: str, settings: dict) -> None:
    cost = estimate(region, settings)
    assert cost["monthly_usd"] == round(sum(line["monthly_usd"] for line in cost["items"]), 2)
    assert cost["maximum_monthly_usd"] >= cost["monthly_usd"] >= 0
    for line in cost["items"]:
        assert line["quantity"] >= 0 and line["unit_price"] > 0 and line["monthly_usd"] >= 0
        assert line["monthly_usd"] == pytest.approx(line["quantity"] * line["unit_price"], abs=0.02)


@given(st.sampled_from(REGIONS), SETTINGS, st.sampled_from(COUNTED))
def test_more_of_anything_never_costs_less(region: str, settings: dict, more: str) -> None:
    # 0 days of logs are all of them.
    settings["log_retention_days"] += 1
    before = estimate(region, settings)["monthly_usd"]
    assert estimate(region, {**settings, more: settings[more] + 7})["monthly_usd"] >= before


@given(st.sampled_from(REGIONS), SETTINGS)
def test_what_is_not_priced_is_missing(region: str, settings: dict) -> None:
    cost = estimate(region, settings)
    assert len(cost["items"]) + len(cost["missing"]) == len(list(cost_estimate._wanted(settings)))
    assert ("db.x9.huge" == settings["db_instance_class"]) <= any("db.x9.huge" in line for line in cost["missing"])


def test_the_reference_deployment_line_by_line() -> None:
    settings = {"task_cpu": 512, "task_memory": 1024, "db_instance_class": "db.t3.micro"}
    assert {item: line["monthly_usd"] for item, line in lines(**settings).items()} == {
        "Fargate processors": 33.99,
        "Fargate memory": 7.46,
        "Database db.t3.micro": 15.33,
        "Database storage": 2.66,
        "NAT gateways": 36.5,
        "Load balancer": 19.32,
        "Load balancer capacity": 6.13,
        "Public IPv4 addresses": 10.95,
        "Secrets": 1.2,
        "Logs taken in": 0.6,
        "Logs kept": 0.03,
    }
    assert estimate("eu-west-2", settings)["monthly_usd"] == 134.17


def test_an_unknown_region_has_no_numbers() -> None:
    cost = estimate("mars-north-1", {})
    assert (cost["items"], cost["not_included"]) == ([], [])
    assert (cost["monthly_usd"], cost["maximum_monthly_usd"]) == (None, None)
    assert cost["missing"] == [
        "no prices for the region mars-north-1; there are prices for eu-central-1, eu-west-2, us-east-1"
    ]


def test_a_price_that_is_missing_is_named_and_not_counted() -> None:
    cost = estimate("eu-west-2", {"db_instance_class": "db.m7i.large"})
    assert cost["missing"] == ["no price for Database db.m7i.large in eu-west-2: 730 hour are not in the sum"]
    assert not any("m7i" in line["item"] for line in cost["items"])


def test_a_standby_is_paid_for() -> None:
    published = lines(db_instance_class="db.r6g.large", db_multi_az=True)
    assert published["Database db.r6g.large"]["unit_price"] == 0.529
    assert published["Database db.r6g.large"]["quantity"] == 730
    assert published["Database storage"]["quantity"] == 40
    derived = lines(db_instance_class="db.t3.micro", db_multi_az=True)["Database db.t3.micro"]
    assert (derived["quantity"], derived["unit_price"]) == (1460, 0.021)


def test_the_network_by_zones() -> None:
    three = {"subnet_cidrs": ["a", "b", "c"]}
    assert lines(**three, nat_mode="per_zone")["NAT gateways"]["quantity"] == 3 * 730
    assert lines(**three, nat_mode="per_zone")["Public IPv4 addresses"]["quantity"] == 6 * 730
    without = lines(**three, nat_mode="none", interface_endpoints=5, public_load_balancer=False)
    assert without["Interface endpoints"]["quantity"] == 15 * 730
    assert {"NAT gateways", "Public IPv4 addresses"}.isdisjoint(without)


def test_what_is_counted_is_not_among_what_is_not_included() -> None:
    def told(**settings: t.Any) -> set[str]:
        return {line["item"] for line in estimate("eu-west-2", settings)["not_included"]}

    counted = {"Artifacts in S3", "Backups beyond the size of the database"}
    assert counted <= told()
    assert counted.isdisjoint(told(artifacts=100, db_extra_backup_storage=5))
    assert "Data through NAT gateways" not in told(nat_mode="none", interface_endpoints=1)
    assert "Data through interface endpoints" in told(nat_mode="none", interface_endpoints=1)


def test_more_than_the_free_storage_of_a_task() -> None:
    assert "Fargate storage" not in lines(task_ephemeral_storage=20)
    assert lines(task_ephemeral_storage=30, task_count=2)["Fargate storage"]["quantity"] == 2 * 10 * 730


def test_logs_for_ever_are_counted_for_a_year() -> None:
    assert lines(logs=2, log_retention_days=0)["Logs kept"]["quantity"] == 24


def test_most_tasks() -> None:
    cost = estimate("eu-west-2", {"task_count": 2, "task_max_count": 4})
    assert cost["maximum_monthly_usd"] == estimate("eu-west-2", {"task_count": 4})["monthly_usd"] > cost["monthly_usd"]


def test_spot_is_counted_at_its_most_and_says_so() -> None:
    spot = estimate("eu-west-2", {"task_spot": True})
    assert spot["monthly_usd"] == estimate("eu-west-2", {})["monthly_usd"]
    assert "Spot" in spot["assumptions"][0]


@pytest.mark.parametrize(
    ("office_hours", "hours"),
    [
        ({}, 730),
        (OFFICE, 730 * 60 / 168),
        ({"weekdays": "mon,WED", "start": "8:30", "stop": "9:00"}, 730 / 168),
        ({"weekdays": "SAT-MON", "start": "00:00", "stop": "24:00"}, 730 * 72 / 168),
    ],
)
def test_office_hours(office_hours: dict, hours: float) -> None:
    assert task_hours(office_hours) == pytest.approx(hours)


@pytest.mark.parametrize(
    ("office_hours", "message"),
    [
        ({"weekdays": "MON-FRI", "start": "20:00", "stop": "08:00"}, "ends before it starts"),
        ({"weekdays": "MON-FRI", "start": "early", "stop": "08:00"}, "early: is not a time"),
        ({"weekdays": "MO-FR", "start": "08:00", "stop": "18:00"}, "MO-FR: are not weekdays"),
        ({"weekdays": "MON-FRI"}, "lacks start, stop"),
    ],
)
def test_office_hours_that_are_none(run_module: t.Callable[..., dict], office_hours: dict, message: str) -> None:
    result = run_module(deployment_cost, {"region": "eu-west-2", "office_hours": office_hours})
    assert result["failed"] and message in result["msg"] and "\n" not in result["msg"]


def test_every_price_has_a_source_and_every_source_is_used() -> None:
    tables = (cost_prices.EVERYWHERE, *cost_prices.PRICES.values())
    assert {source for table in tables for _usd, source in table.values()} == set(cost_prices.SOURCES)
    assert all("https://" in source or "AWS" in source for source in cost_prices.SOURCES.values())
    assert datetime.date.fromisoformat(cost_prices.LOOKED_UP) <= datetime.date.today()


def test_the_module_has_the_defaults_of_the_estimate_and_the_role_those_of_the_module() -> None:
    module = {name: option.get("default") for name, option in deployment_cost.ARGUMENTS.items() if name != "region"}
    assert module == cost_estimate.DEFAULTS
    role = yaml.safe_load((ROOT / "roles/cost/defaults/main.yml").read_text())
    assert role == {f"cost_{name}": value for name, value in {**module, "alternatives": {}}.items()}


@pytest.mark.parametrize("check", [True, False])
def test_the_module_compares(run_module: t.Callable[..., dict], check: bool) -> None:
    options = {"region": "eu-west-2", "db_instance_class": "db.t4g.micro", "alternatives": {"one": {"task_count": "1"}}}
    result = run_module(deployment_cost, options, check)
    assert not result["changed"]
    one = estimate("eu-west-2", {"db_instance_class": "db.t4g.micro", "task_count": 1})
    assert result["alternatives"]["one"]["monthly_usd"] == one["monthly_usd"] < result["monthly_usd"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_count": -1}, "task_count = -1: is below zero"),
        ({"alternatives": {"odd": {"task_count": "two"}}}, "alternatives.odd"),
        ({"alternatives": {"odd": {"tasks": 2}}}, "alternatives.odd"),
        ({"alternatives": {"odd": {"secrets": -2}}}, "secrets = -2"),
    ],
)
def test_the_module_refuses(run_module: t.Callable[..., dict], options: dict, message: str) -> None:
    result = run_module(deployment_cost, {"region": "eu-west-2", **options})
    assert result["failed"] and message in result["msg"] and "\n" not in result["msg"]


def defaults_of_roles() -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for role in ("alb", "ecs_mlflow", "network", "rds"):
        found.update(yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text()))
    return found


def test_profiles_say_the_same_variables_and_only_those_that_roles_have() -> None:
    assert list(PROFILES) == ["dev", "standard", "ha"]
    assert len({tuple(sorted(values)) for values in PROFILES.values()}) == 1
    assert PROFILES["dev"].keys() <= defaults_of_roles().keys()


def test_standard_is_what_the_roles_do_by_themselves_but_stricter() -> None:
    defaults = defaults_of_roles()
    different = {name for name, value in PROFILES["standard"].items() if defaults[name] != value}
    assert different == {"rds_instance_class", "rds_log_exports", "alb_deletion_protection"}


@pytest.mark.parametrize("version", ["2.18.0", "3.17.2"])
@pytest.mark.parametrize("profile", PROFILES)
def test_preflight_takes_every_profile(profile: str, version: str) -> None:
    values = {**defaults_of_roles(), **PROFILES[profile]}
    names = yaml.safe_load((ROOT / "playbooks/vars/deployment.yml").read_text())["mlflow_preflight_variable_names"]
    desired = {option: values[name] for option, name in names.items() if name in values}
    found = Findings({}, "")
    desired = {option: desired.get(option) for option in deployment_rules.OPTIONS}
    chosen = deployment_rules.check({**desired, "name": "team", "mlflow_version": version, "mlflow_workers": 0}, found)
    assert found.problems == []
    assert chosen["mlflow_workers"] >= 2
    about_profile = [line for line in found.warnings if any(word in line for word in ("memory", "connections"))]
    assert about_profile == []


def test_more_comfort_costs_more_and_london_has_all_prices() -> None:
    sums = []
    for values in PROFILES.values():
        cost = estimate(
            "eu-west-2",
            {
                "task_count": values["ecs_mlflow_desired_count"],
                "task_cpu": values["ecs_mlflow_cpu"],
                "task_memory": values["ecs_mlflow_memory"],
                "task_cpu_architecture": values["ecs_mlflow_cpu_architecture"],
                "db_instance_class": values["rds_instance_class"],
                "db_multi_az": values["rds_multi_az"],
                "db_allocated_storage": values["rds_allocated_storage"],
                "nat_mode": values["network_nat_mode"],
                "subnet_cidrs": values["network_public_subnet_cidrs"],
                "log_retention_days": values["ecs_mlflow_log_retention_days"],
            },
        )
        assert cost["missing"] == []
        sums.append(cost["monthly_usd"])
    assert sums == sorted(sums)
