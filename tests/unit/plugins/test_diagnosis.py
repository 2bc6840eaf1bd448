# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the state of a deployment shows: each rule makes one fact wrong, and its cause comes first."""

from __future__ import annotations

import copy
import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    diagnosis,
    diagnosis_answers,
    diagnosis_network,
    diagnosis_policies,
    diagnosis_symptoms,
    diagnosis_texts,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.diagnosis_cause import Cause

from tests.unit.plugins import diagnosed
from tests.unit.plugins.diagnosed import DEFINITION, FACTS, NEWER, NOW, OLDER, TASK_ROLE, facts, failing, group, rule, stopped

GIB = 1024**3
DENY = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::models", "arn:aws:s3:::models/*"]}
SECRET = FACTS["secrets"][0]
ROLE = FACTS["roles"][0]
NETWORK = FACTS["network"]


def check(name, message):
    return [{"name": name, "status": "failed", "latency_ms": 1.0, "message": message, "remedy": "mend it"}]


def sick(reason, description):
    return [{"id": "10.0.0.4", "port": 5000, "state": "unhealthy", "reason": reason, "description": description}]


def network(**changes):
    return {**copy.deepcopy(NETWORK), **changes}


def groups(**changes):
    """NETWORK with other rules of a group: its name, then ingress and egress."""
    others = [one for one in NETWORK["groups"] if one["GroupId"][3:] not in changes]
    return network(groups=others + [group(f"sg-{name}", *rules) for name, rules in changes.items()])


def routes(*found, **changes):
    tables = [{"RouteTableId": "rtb-1", "VpcId": "vpc-1", "Associations": [{"Main": True}], "Routes": list(found)}]
    return network(route_tables=tables, **changes)


def environment(**values):
    return {**FACTS["definition"]["environment"], **values}


MISMATCH = sick("Target.ResponseCodeMismatch", "Health checks failed with these codes: [404]")
EVENTS = [
    {"at": NOW - 100, "message": "(service web) has reached a steady state."},
    {"at": NOW - 200, "message": "(service web) (deployment ecs-svc/2) rolling back to (deployment ecs-svc/1)."},
    {"at": NOW - 200, "message": "(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start."},
]
S3_ENDPOINT = {"ServiceName": "com.amazonaws.eu-west-2.s3", "VpcEndpointType": "Gateway", "State": "available", "RouteTableIds": ["rtb-1"]}
IN_ECR = {"definition__image": "1.dkr.ecr.eu-west-2.amazonaws.com/mlflow:3", "definition__environment": environment(LAUNCHER_REQUIREMENTS="")}

CAUSES = {
    "no service": ("service_missing", {"service": None, "definition": None, "targets": []}),
    "somebody else's service": ("service_foreign", {"service__tags": {"team": "a"}}),
    "a service on its way out": ("service_removed", {"service__status": "DRAINING"}),
    "no task": ("no_task_wanted", {"service__desired": 0, "service__running": 0, "targets": []}),
    "rolled back": ("deployment_failed", {"service__events": EVENTS, "newest_revision": 4}),
    "given up": ("deployment_failed", {"service__deployments": [{**FACTS["service"]["deployments"][0], "rollout_state": "FAILED"}]}),
    "no database": ("database_missing", {"database": None}),
    "a version that RDS does not offer": (
        "engine_version_not_offered", {"database": None, "wanted_engine_version": "15.4", "offered_engine_versions": ["15.7", "16.3"]}
    ),
    "no version at all": ("engine_version_not_offered", {"database": None, "offered_engine_versions": []}),
    "somebody else's database": ("database_foreign", {"database__tags": {}}),
    "database stopped": ("database_stopped", {"database__status": "stopped", "http": check("admin_login", "HTTP 503")}),
    "storage full": ("database_storage_full", {"database__status": "storage-full"}),
    "key of the database gone": (
        "database_inaccessible_encryption_credentials", {"database__status": "inaccessible-encryption-credentials"}
    ),
    "database restarting": ("database_busy", {"database__status": "rebooting"}),
    "port twice": ("database_port_twice", {"definition__environment": environment(LAUNCHER_DB_HOST="web-db.example:5432")}),
    "another address": ("database_address", {"definition__environment": environment(LAUNCHER_DB_HOST="old-db.example")}),
    "another port": ("database_port", {"definition__environment": environment(LAUNCHER_DB_PORT="5433")}),
    "storage used up": ("database_storage_full", {"database__free_storage": 0.05 * GIB}),
    "storage low": ("database_storage_low", {"database__free_storage": 0.9 * GIB}),
    "connections": ("too_many_connections", {"database__connections": 79.0}),
    "memory": ("out_of_memory", {"definition__environment": environment(LAUNCHER_WORKERS="8")}),
    "no load balancer": ("load_balancer_missing", {"load_balancer": None}),
    "load balancer not active": ("load_balancer_not_active", {"load_balancer__state": "failed"}),
    "no listener": ("listener_missing", {"load_balancer__listener_arn": None}),
    "no target group": ("target_group_differs", {"target_group": None}),
    "another target group": ("target_group_differs", {"target_group__arn": "arn:other"}),
    "wrong health check": ("wrong_health_check", {"target_group__path": "/healthz", "targets": MISMATCH}),
    "wrong health check without a target": ("wrong_health_check", {"target_group__path": "/healthz", "targets": []}),
    "wrong port of the health check": ("wrong_health_check", {"target_group__port": "80", "targets": sick("Target.FailedHealthChecks", "")}),
    "error at the health check": ("health_check_refused", {"targets": MISMATCH}),
    "servers hang": ("servers_hang", {"targets": sick("Target.Timeout", "Request timed out")}),
    "wrong port": ("wrong_port", {"definition__environment": environment(LAUNCHER_PORT="5001")}),
    "no secret": ("secret_missing", {"secrets": [{**SECRET, "exists": False}]}),
    "secret deleted": ("secret_deleted", {"secrets": [{**SECRET, "deleted": True, "variables": []}]}),
    "secret without key": ("secret_without_key", {"secrets": [{**SECRET, "keys": ["username"]}]}),
    "no role": ("role_missing", {"roles": [{**ROLE, "exists": False}]}),
    "role without policy": ("secret_denied", {"roles": [{**ROLE, "policies": []}]}),
    "task role without policy": ("bucket_denied", {"roles": [{**ROLE, "policies": [], "needs": [("s3:PutObject", "arn:aws:s3:::models/a")]}]}),
    "no bucket": ("bucket_missing", {"bucket__status": 404}),
    "bucket abroad": ("bucket_in_another_region", {"bucket__status": 301, "bucket__region": "us-east-1"}),
    "somebody else's bucket": ("bucket_denied", {"bucket__status": 403}),
    "bucket policy": ("bucket_denied", {"bucket__policy": {"Statement": [DENY]}, "bucket__prefix": ""}),
    "certificate expired": ("certificate_expired", {"certificate__ends_at": NOW - 1}),
    "certificate not issued": ("certificate_not_issued", {"certificate__status": "PENDING_VALIDATION", "certificate__ends_at": 0.0}),
    "certificate that ends": ("certificate_ends", {"certificate__ends_at": NOW + 5 * 86400}),
    "allowed hosts": ("host_refused", {"definition__environment": environment(LAUNCHER_ALLOWED_HOSTS="other.example.com, *.example.org")}),
    "TLS": ("tls", {"http": check("tls", "the certificate is not for this host")}),
    "host refused": ("host_refused", {"http": check("admin_login", "HTTP 403: Invalid Host header - possible DNS rebinding attack detected")}),
    "authentication off": ("authentication_off", {"http": check("auth_required", "authentication is off: the API answers without a password")}),
    "admin's password": ("admin_password", {"http": check("admin_login", "experiments in JSON expected, got HTTP 401")}),
    "default experiment": ("default_experiment_deleted", {"http": check("default_experiment", "experiment 0, 'Default', is deleted")}),
    "not from here": ("unreachable_from_here", {"http": check("liveness", "GET https://mlflow.example.com/health: no answer in time")}),
    "anything else": ("unknown", {"http": check("liveness", "200 OK from /health expected, got HTTP 502: an HTML page")}),
    "tasks that end without a word": ("unknown", {"service__running": 1, "stopped": [stopped("Essential container in task exited", ["bye"])]}),
    "a deployment under way": ("deployment_under_way", {
        "service__deployments": [{**FACTS["service"]["deployments"][0], "rollout_state": "IN_PROGRESS"}], "service__running": 1}),
    "no such security group": ("security_group_missing", {"network": network(groups=[])}),
    "database closed": ("database_closed", {"network": groups(rds=([rule(5432, group="sg-other")], []))}),
    "no way to the database": ("database_closed", {"network": groups(ecs=([rule(5000, group="sg-alb")], [rule(443, cidr="0.0.0.0/0")]))}),
    "tasks closed": ("tasks_closed", {"network": groups(ecs=([rule(22, cidr="0.0.0.0/0")], [rule(0, cidr="0.0.0.0/0", protocol="-1")]))}),
    "no way to the tasks": ("tasks_closed", {"network": groups(alb=([], [rule(5001, group="sg-ecs")]))}),
    "no way out": ("no_way_out", {"network": groups(ecs=([rule(5000, group="sg-alb")], [rule(5432, group="sg-rds")]))}),
    "no default route": ("no_way_to_s3", {"network": routes()}),
    "no default route, but S3's": ("no_way_to_internet", {"network": routes(endpoints=[S3_ENDPOINT])}),
    "a route to nowhere": ("no_way_to_s3", {"network": routes({"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "blackhole"})}),
    "NAT gateway gone": ("no_way_to_s3", {"network": network(nat_gateways=[])}),
    "no public address": ("no_way_to_s3", {"network": routes({"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"})}),
    "no endpoint": ("no_endpoint", {"network": routes(endpoints=[S3_ENDPOINT]), **IN_ECR}),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_a_wrong_fact_is_the_first_cause(name):
    wanted, changes = CAUSES[name]
    found = diagnosis.diagnose(facts(**changes))
    assert not found.healthy and found.causes[0].id == wanted, found.causes
    assert found.causes[0].cause and found.causes[0].remedy and len(found.causes[0].evidence) <= diagnosis.MOST_EVIDENCE
    lines = diagnosis.report(facts(**changes), found)
    assert lines[0].startswith("web is sick: ") and lines[1] == f"1. {found.causes[0].cause}"
    assert lines[2] == f"   remedy: {found.causes[0].remedy}" and lines[-1].startswith("Not looked at: network ACLs")


def test_a_healthy_deployment():
    found = diagnosis.diagnose(facts())
    assert found.healthy and not found.causes and not found.symptoms and not found.notes
    assert diagnosis.report(facts(), found)[0] == (
        "web is healthy: 2 of 2 tasks run, 2 targets are healthy, the database is available, MLflow answers the admin through the load"
        " balancer"
    )
    assert diagnosis.report(facts(database=None, http=[]), found)[0] == "web is healthy: 2 of 2 tasks run, 2 targets are healthy"


WELL = {
    "other names among the allowed ones": {"definition__environment": environment(LAUNCHER_ALLOWED_HOSTS="*.example.com")},
    "any host": {"definition__environment": environment(LAUNCHER_ALLOWED_HOSTS="")},
    "a version that checks no host": {"definition__environment": environment(LAUNCHER_MLFLOW_VERSION="2.18.0", LAUNCHER_ALLOWED_HOSTS="x")},
    "another image": {"definition__environment": {}},
    "a size that is not known": {"database__instance_class": "db.x9.huge", "database__connections": 5000.0},
    "no metrics": {"database__connections": None, "database__free_storage": None},
    "backing up": {"database__status": "backing-up"},
    "not there yet": {"database__address": "", "database__port": 0},
    "values of secrets unread": {"secrets": [{**SECRET, "keys": None}]},
    "a Deny under a condition": {"bucket__policy": {"Statement": {**DENY, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}}},
    "no bucket": {"bucket": None},
    "no certificate": {"certificate": None},
    "no network": {"network": None},
    "by address": {"network": groups(rds=([rule(5432, cidr="10.0.0.0/16")], []))},
    "by prefix list": {"network": groups(rds=([{**rule(5432), "PrefixListIds": [{"PrefixListId": "pl-1"}]}], []))},
    "groups that are not known": {"database__security_groups": [], "load_balancer__security_groups": []},
    "a public address": {
        "network": routes({"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}), "service__public_ip": True},
    "a transit gateway": {"network": routes({"DestinationCidrBlock": "0.0.0.0/0", "TransitGatewayId": "tgw-1", "State": "active"})},
    "no route table that is known": {"network": network(route_tables=[])},
    "endpoints": {**IN_ECR, "network": routes(endpoints=[S3_ENDPOINT, *(
        {"ServiceName": f"com.amazonaws.eu-west-2.{name}", "VpcEndpointType": "Interface", "State": "Available"}
        for name in ("logs", "secretsmanager", "ecr.api", "ecr.dkr"))])},
    "another path that is answered": {"target_group__path": "/version"},
    "no target group": {"service__target_group_arn": None, "targets": [], "target_group": None, "unread_parts": ["load balancer"]},
    "tasks that fail in a trouble that is over": {"stopped": [stopped("exit 1", stopped_at=NOW - 8500)]},
    "tasks of an older revision": {"stopped": [stopped("OutOfMemoryError", task_definition=OLDER, started_by="ecs-svc/0")]},
    "a deployment that failed before the newest one": {"service__events": EVENTS},
    "an address that is no problem elsewhere": {"http": [{"name": "tls", "status": "warned", "message": "soon", "remedy": "", "latency_ms": 1.0}]},
}  # fmt: skip


@pytest.mark.parametrize("name", WELL)
def test_what_is_well_is_called_healthy(name):
    found = diagnosis.diagnose(facts(**WELL[name]))
    assert found.healthy, found


def test_what_could_not_be_read_is_no_cause():
    unread = facts(
        service=None, definition=None, database=None, load_balancer=None, target_group=None, targets=[], network=None,
        unread_parts=["service", "database", "load balancer"], unread=["service: AWS permissions: ecs:DescribeServices is denied"],
    )  # fmt: skip
    found = diagnosis.diagnose(unread)
    assert [cause.id for cause in found.causes] == ["unknown"] and found.unread[0].startswith("service: AWS permissions")


def test_notes_tell_what_makes_nothing_sick():
    found = diagnosis.diagnose(facts(
        database__pending=["DBInstanceClass"], database__parameters="pending-reboot", stopped=[stopped("it ended", stopped_at=NOW - 1000, started_by="x")],
        http=[{"name": "tls", "status": "warned", "message": "soon", "remedy": "", "latency_ms": 1.0}],
    ))  # fmt: skip
    assert found.healthy and found.notes == [
        "the database waits for its maintenance window or a reboot to change DBInstanceClass",
        "the database needs a reboot for parameters that were changed",
        "1 tasks failed in the last hour in troubles that are over, the last one: it ended",
        "tls: soon",
    ]


def test_the_same_cause_is_told_once_with_all_its_evidence():
    one, other = Cause("a", 10, "less", "b", ["x", "y"]), Cause("a", 20, "more\nlikely", "c", ["y", "z", "w"])
    assert diagnosis.ordered([one, Cause("b", 15, "", "", []), other]) == [
        Cause("a", 20, "more likely", "c", ["y", "z", "w"]), Cause("b", 15, "", "", [])
    ]  # fmt: skip


def test_which_failed_tasks_belong_to_the_present_trouble():
    def culprits(**changes):
        return [task["id"] for task in diagnosis_symptoms.culprits(facts(**changes))]

    ended = stopped("it ended")
    assert culprits(stopped=[ended]) == []
    assert culprits(stopped=[ended], service__running=1) == [ended["id"]]
    assert culprits(stopped=[ended], service=None) == [ended["id"]]
    # The circuit breaker went back, and all is steady.
    given_up = stopped("it ended", started_by="ecs-svc/2", task_definition=NEWER)
    assert culprits(stopped=[given_up], service__events=EVENTS, newest_revision=4) == [given_up["id"]]
    assert culprits(stopped=[given_up], service__events=EVENTS) == []
    # The task that prepares the databases.
    prepare = {"started_by": "prepare web"}
    assert culprits(stopped=[stopped("it ended", task_definition=NEWER, **prepare)]) == ["0f1e2d3c4b5a"]
    assert culprits(stopped=[stopped("it ended", task_definition=DEFINITION, **prepare)]) == []
    assert culprits(stopped=[stopped("OutOfMemoryError: Container killed")]) == ["0f1e2d3c4b5a"]
    assert culprits(stopped=[stopped("")], service__running=1) == []


def test_symptoms_are_told():
    found = diagnosis_symptoms.symptoms(failing("it ended"))
    assert found == ["1 of 2 tasks run", "1 of 2 targets are healthy"]
    assert diagnosis_symptoms.symptoms(facts(targets=MISMATCH)) == [
        "0 of 2 targets are healthy (unhealthy Health checks failed with these codes: [404])"
    ]
    assert diagnosis_symptoms.revision("web") == 0


# --- policies


def test_policies_that_surely_refuse():
    allow = {"Effect": "Allow", "Action": ["s3:Get*", "s3:PutObject"], "Resource": "arn:aws:s3:::models/*"}
    denied = diagnosis_policies.denied
    assert denied([{"Statement": allow}], "s3:GetObject", "arn:aws:s3:::models/a") == ""
    assert denied([{"Statement": allow}], "s3:ListBucket", "arn:aws:s3:::models") == "no Allow"
    assert denied([{"Statement": [allow, {**allow, "Effect": "Deny"}]}], "S3:getobject", "arn:aws:s3:::models/a") == "a Deny"
    not_these = {"Effect": "Allow", "NotAction": "s3:PutObject", "NotResource": "arn:aws:s3:::other/?"}
    assert denied([{"Statement": not_these}], "s3:PutObject", "arn:aws:s3:::models/a") == "no Allow"
    assert denied([{"Statement": not_these}], "s3:GetObject", "arn:aws:s3:::models/a") == ""
    assert denied([{"Statement": not_these}], "s3:GetObject", "arn:aws:s3:::other/a") == "no Allow"
    assert denied([None, {"Statement": ["?"]}, {"Statement": {"Effect": "Allow"}}], "s3:GetObject", "a") == "no Allow"


@pytest.mark.parametrize(
    ("principal", "about"),
    [
        ("*", True), ({"AWS": "*"}, True), ({"AWS": [TASK_ROLE]}, True), ({"AWS": diagnosed.ACCOUNT}, True),
        ({"AWS": f"arn:aws:iam::{diagnosed.ACCOUNT}:root"}, True), ({"AWS": "arn:aws:iam::999999999999:root"}, False),
        ({"Service": "x.amazonaws.com"}, False), (None, False),
    ],
)  # fmt: skip
def test_whom_a_bucket_policy_is_about(principal, about):
    policy = {"Statement": [{**DENY, "Principal": principal}]}
    assert diagnosis_policies.denied_by_bucket(policy, TASK_ROLE, "s3:PutObject", "arn:aws:s3:::models/a") is about
    assert not diagnosis_policies.denied_by_bucket(policy, "no-arn", "s3:PutObject", "arn:aws:s3:::other/a")


def test_ports_and_ranges():
    admits = diagnosis_network.admits
    assert admits([rule(0, cidr="10.0.0.0/8", protocol="-1")], 5432, [], ["10.1.0.0/16"])
    assert not admits([rule(5432, cidr="10.0.0.0/8", protocol="udp")], 5432, [], ["10.1.0.0/16"])
    assert not admits([rule(5432, cidr="10.1.0.0/17")], 5432, [], ["10.1.0.0/16"])
    assert not admits([rule(5432, cidr="nonsense")], 5432, [], ["10.1.0.0/16"])
    assert not admits([rule(5432, cidr="10.0.0.0/8")], 5432, [], [])
    assert not admits([{"IpProtocol": "tcp"}], 5432, ["sg-1"], [])


# --- answers of AWS, whatever they lack

THEN = datetime.datetime(2026, 11, 20, 9, 30, tzinfo=datetime.timezone.utc)


def test_failures_of_tasks():
    exited = {"lastStatus": "STOPPED", "stopCode": "EssentialContainerExited", "stoppedReason": "Essential container in task exited",
              "containers": [{"name": "mlflow", "exitCode": 77}]}  # fmt: skip
    assert diagnosis_answers.failure(exited) == "Essential container in task exited; container mlflow exited with code 77"
    assert diagnosis_answers.failure({**exited, "stopCode": "ServiceSchedulerInitiated", "stoppedReason": "Scaling activity"}) == ""
    checks = "Task failed ELB health checks in (target-group x)"
    assert diagnosis_answers.failure({**exited, "stopCode": "ServiceSchedulerInitiated", "stoppedReason": checks}) == checks


def test_references_to_secrets():
    arn = diagnosed.SECRET
    assert diagnosis_answers.secret_reference(f"{arn}:password::") == (arn, "password")
    assert diagnosis_answers.secret_reference(arn) == (arn, "")
    assert diagnosis_answers.secret_reference("web/database") == ("web/database", "")


def test_times_and_numbers():
    assert diagnosis_answers.seconds(THEN) == THEN.timestamp() and diagnosis_answers.seconds(None) == 0.0
    assert diagnosis_answers.whole("7") == 7 and diagnosis_answers.whole("many") == 0 and diagnosis_answers.whole(None) == 0


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6,
)  # fmt: skip
TEXT = st.text(max_size=30)


@settings(max_examples=50)
@given(policy=ODD, protocol=TEXT, port=st.integers(-1, 70000) | st.none(), cidr=TEXT)
def test_odd_policies_and_rules_are_judged(policy, protocol, port, cidr):
    assert isinstance(diagnosis_policies.denied_by_bucket(policy, TASK_ROLE, "s3:PutObject", "arn:aws:s3:::a"), bool)
    assert diagnosis_policies.denied([policy], "s3:PutObject", "arn:aws:s3:::a") in ("", "a Deny", "no Allow")
    odd = {"IpProtocol": protocol, "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]}
    assert isinstance(diagnosis_network.admits([odd], 5432, ["sg-1"], ["10.0.0.0/24", cidr]), bool)


@settings(max_examples=50)
@given(
    texts=st.lists(TEXT, min_size=8, max_size=8), numbers=st.lists(st.integers(-5, 10**6), min_size=4, max_size=4),
    values=st.dictionaries(st.sampled_from(sorted(FACTS["definition"]["environment"])), TEXT), gone=st.sets(st.sampled_from(
        ["service", "definition", "target_group", "load_balancer", "database", "bucket", "network", "certificate"])),
)  # fmt: skip
def test_no_fact_breaks_it(texts, numbers, values, gone):
    odd = facts(
        service__status=texts[0], service__desired=numbers[0], service__running=numbers[1], definition__environment=environment(**values),
        definition__memory=numbers[2], database__status=texts[1], database__address=texts[2], database__allocated=numbers[3],
        target_group__path=texts[3], target_group__codes=texts[4], load_balancer__hosts=[texts[5]], certificate__status=texts[6],
        service__events=[{"at": 0.0, "message": texts[7]}], bucket__region=texts[0], service__task_definition=texts[1],
        stopped=[stopped(texts[2], [texts[3]])], http=check(texts[4], texts[5]),
    )  # fmt: skip
    for part in gone:
        odd[part] = None
    found = diagnosis.diagnose(odd)
    assert all("\n" not in line for line in diagnosis.report(odd, found)) and found.causes


KEYS = (
    "events", "deployments", "networkConfiguration", "loadBalancers", "tags", "containerDefinitions", "containers", "Target",
    "TargetHealth", "Endpoint", "TagList", "Matcher", "NotAfter", "createdAt", "stoppedReason", "taskArn", "desiredCount",
)  # fmt: skip


@pytest.mark.parametrize("name", ["service", "definition", "task", "target", "target_group", "database", "certificate"])
def test_answers_that_lack_anything_become_facts(name):
    for answer in ({}, dict.fromkeys(KEYS), *({key: None} for key in KEYS)):
        assert getattr(diagnosis_answers, name)(answer)


def test_the_page_has_every_cause():
    page = (Path(__file__).resolve().parents[3] / "docs/diagnosing.md").read_text()
    wanted = {cause for cause, _changes in CAUSES.values()} | {text.id for text in diagnosis_texts.TEXTS}
    assert sorted(one for one in wanted if f"`{one}`" not in page) == []
