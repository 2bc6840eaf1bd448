# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the report of a deployment says, and that no text breaks its pages."""

from __future__ import annotations

import copy
import functools
import html.parser
import itertools
import re
import shlex
import typing as t

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    report_components,
    report_document,
    report_figures,
    report_jobs,
    report_links,
    report_picture,
    report_times,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.plugins import reported

HOSTILE = "</title></svg><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' | `x` [a](javascript:x) {{ 1 }} \n# <b> &lt;"


class Page(html.parser.HTMLParser):
    """Reads a page as a browser would: its elements, attributes and texts; refuses what is not closed."""

    VOID = {"meta", "link", "rect", "path", "circle", "polyline"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: t.Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: t.Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def component(report: dict, identifier: str) -> tuple[str, str]:
    found = next(one for one in report["components"] if one["id"] == identifier)
    return found["state"], found["word"]


def figure(report: dict, identifier: str) -> dict:
    return next(one for one in report["figures"] if one["id"] == identifier)


# --- what it says


def test_a_deployment_that_is_well():
    report = reported.document()
    assert (report["state"], report["verdict"], report["lines"]) == ("good", "Works", [])
    assert {one["state"] for one in report["components"]} == {"good"}
    assert report["made"] == "2026-11-20, 10:00 to 10:05 UTC"
    assert [one["zone"] for one in report["tasks"]] == ["eu-west-2a", "eu-west-2b"]
    # Newest first, whatever clock it was told in.
    assert [one["time"] for one in report["events"]] == [
        "2026-11-20 09:20", "2026-11-20 08:00", "2026-11-20 02:13", "2026-11-19 09:29",
    ]  # fmt: skip


def test_no_deployment():
    report = report_document.document(reported.nothing())
    assert (report["state"], report["verdict"]) == ("off", "Not deployed")
    assert {one["value"] for one in report["figures"]} == {"no data"}
    assert report["events"] == [] and report["tasks"] == [] and report["cost"]["monthly_usd"] == "no data"


@pytest.mark.parametrize(
    ("identifier", "state", "word", "changes"),
    [
        ("service", "warn", "1 of 2 tasks running", {"service__running_count": 1}),
        ("service", "bad", "0 of 2 tasks running", {"service__running_count": 0}),
        ("service", "warn", "2 of 2 tasks running, rollout in progress", {"service__rollout_state": "IN_PROGRESS"}),
        ("service", "warn", "no task is wanted", {"service__desired_count": 0, "service__running_count": 0}),
        ("service", "bad", "absent", {"service__service_name": None}),
        ("targets", "bad", "0 of 0 targets healthy", {"service__targets": []}),
        ("targets", "off", "0 of 0 targets healthy", {"service__targets": [], "service__desired_count": 0}),
        ("targets", "warn", "1 of 2 targets healthy", {"service__targets": [
            {"id": "10.0.10.7", "port": 5000, "state": "healthy", "reason": None},
            {"id": "10.0.11.7", "port": 5000, "state": "unhealthy", "reason": "Target.Timeout"},
        ]}),
        ("targets", "good", "1 of 2 targets healthy", {"service__targets": [
            {"id": "10.0.10.7", "port": 5000, "state": "healthy", "reason": None},
            {"id": "10.0.11.7", "port": 5000, "state": "draining", "reason": "Target.DeregistrationInProgress"},
        ]}),
        ("load_balancer", "bad", "absent", {"load_balancer__alb_arn": None}),
        ("load_balancer", "bad", "failed", {"load_balancer__state": "failed"}),
        ("load_balancer", "warn", "provisioning", {"load_balancer__state": "provisioning"}),
        ("certificate", "off", "none", {"read__certificate": None}),
        ("certificate", "warn", "valid for 5 days", {"read__certificate": {
            "arn": reported.CERTIFICATE, "domain": "a.example", "status": "ISSUED", "ends_at": reported.NOW + 5.5 * 86400}}),
        ("certificate", "bad", "valid for -1 days", {"read__certificate": {
            "arn": reported.CERTIFICATE, "domain": "a.example", "status": "ISSUED", "ends_at": reported.NOW - 3600}}),
        ("certificate", "bad", "validation timed out", {"read__certificate": {
            "arn": reported.CERTIFICATE, "domain": "a.example", "status": "VALIDATION_TIMED_OUT", "ends_at": 0.0}}),
        ("certificate", "good", "issued", {"read__certificate": {
            "arn": reported.CERTIFICATE, "domain": "a.example", "status": "ISSUED", "ends_at": 0.0}}),
        ("web_acl", "off", "off", {"read__web_acl": None}),
        ("database", "bad", "stopped", {"database__status": "stopped"}),
        ("database", "warn", "backing-up", {"database__status": "backing-up"}),
        ("database", "bad", "absent", {"database__status": None}),
        ("backup", "off", "off", {"backup__vault_arn": None}),
        ("backup", "bad", "last job failed", {"backup__last_job_state": "FAILED"}),
        ("backup", "good", "none yet", {"backup__last_backup_at": None, "backup__last_job_state": None}),
        ("network", "bad", "absent", {"network__vpc_id": None}),
        ("artifacts", "bad", "absent", {"artifacts__bucket": None}),
        ("secret-server", "bad", "absent", {"secrets__server_key_secret_arn": None}),
        ("logs", "off", "absent", {"service__log_group": None}),
        ("alarms", "off", "off", {"read__alarms": []}),
        ("scaling", "off", "off", {"scaling__scalable_target_arn": None}),
        ("budget", "off", "off", {"budget__budget_arn": None}),
        ("budget", "warn", "250.00 of 200.00 USD spent", {"budget__actual_usd": 250}),
        ("budget", "good", "200.00 USD a month", {"budget__actual_usd": None, "budget__forecast_usd": None}),
    ],
)  # fmt: skip
def test_a_part_that_is_not_as_it_should_be(identifier, state, word, changes):
    report = reported.document(**changes)
    assert component(report, identifier) == (state, word)
    if state in ("bad", "warn"):
        assert report["state"] == ("bad" if "bad" in {one["state"] for one in report["components"]} else "warn")
        assert any(line.endswith(f": {word}") for line in report["lines"])


def test_an_alarm_is_told_at_its_metric_and_among_the_events():
    facts = reported.facts()
    facts["read"]["alarms"][0].update(state="ALARM", reason="Threshold crossed")
    facts["read"]["alarms"][1]["state"] = "INSUFFICIENT_DATA"
    report = report_document.document(facts)
    assert (report["state"], report["lines"]) == ("warn", ["Alarms: 1 of 2 fire"])
    assert figure(report, "cpu")["alarm"] == "web/cpu" and figure(report, "db_cpu")["alarm"] == ""
    assert [one["word"] for one in report["alarms"]] == ["fires", "no data"]
    assert "web/cpu fires: Threshold crossed" in [one["message"] for one in report["events"]]


@pytest.mark.parametrize(
    ("task", "target", "state", "word"),
    [
        ({}, "healthy", "good", "running, target healthy"),
        ({}, "unhealthy", "bad", "running, target unhealthy"),
        ({"health": "UNHEALTHY"}, "initial", "bad", "running, target initial"),
        ({"status": "PENDING", "address": None, "started_at": None}, None, "warn", "pending, no target"),
    ],
)
def test_tasks(task, target, state, word):
    facts = reported.facts()
    facts["parts"]["service"]["tasks"][0].update(task)
    facts["parts"]["service"]["targets"] = [{"id": "10.0.10.7", "port": 5000, "state": target, "reason": None}] if target else []
    told = report_document.document(facts)["tasks"][0]
    assert (told["state"], told["word"]) == (state, word)


@pytest.mark.parametrize("address", [None, "", "127.10.3.1", "no address"])
def test_an_address_outside_the_subnets_has_no_zone(address):
    assert report_components.zone_of(address, reported.READ["subnets"]) == ""


# --- figures


@pytest.mark.parametrize(("hours", "seconds"), [(1, 60), (3, 60), (4, 300), (24, 300), (25, 3600), (168, 3600)])
def test_figures_are_of_whole_periods(hours, seconds):
    start, end = report_figures.window(reported.NOW + 17.3, hours)
    assert report_figures.period(hours) == seconds and end % seconds == 0 and end - start == hours * 3600
    assert report_figures.window(end + seconds - 0.1, hours) == (start, end)
    # One call: GetMetricData answers 100,800 points.
    assert len(report_figures.METRICS) * hours * 3600 / seconds < 100_800


def test_what_is_not_there_is_not_asked_for():
    known = report_figures.dimensions(reported.BALANCER, reported.GROUP, "web", "web", "web-db")
    queries = report_figures.queries(known, 60)
    assert [one["Id"] for one in queries] == [metric.id for metric in report_figures.METRICS]
    assert queries[0]["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "LoadBalancer", "Value": "app/web/50dc6c495c0c9188"}]
    assert {"Name": "TargetGroup", "Value": "targetgroup/web/73e2d6bc24d8a067"} in queries[5]["MetricStat"]["Metric"]["Dimensions"]
    alone = report_figures.queries(report_figures.dimensions("", "", "", "", "web-db"), 60)
    assert {one["MetricStat"]["Metric"]["Namespace"] for one in alone} == {"AWS/RDS"}
    assert report_figures.dimensions("", reported.GROUP, "", "", "") == {}


def test_figures_tell_the_latest_and_the_extreme():
    report = reported.document(hours=24)
    told = {one["id"]: (one["value"], one["unit"], one["detail"]) for one in report["figures"]}
    assert told["cpu"][1:] == ("%", "highest 63.0 %")
    assert told["db_storage"][1:] == ("GiB", "of 20 GiB")
    assert told["errors"][0] == "0" and told["errors"][2] == "0 by MLflow, 0 by the load balancer"
    assert told["latency"][1] == "ms" and told["latency"][2].startswith("p50 ") and "highest p95 310 ms" in told["latency"][2]
    assert told["cost"] == ("134", "USD", "87.50 USD so far this month, estimate from the inventory")


def test_no_data_is_never_zero():
    facts = reported.facts()
    facts["series"] = report_figures.series([], facts["start"], facts["end"], 300)
    facts["parts"]["cost"] = {}
    facts["parts"]["budget"] = {}
    report = report_document.document(facts)
    assert [(one["value"], one["unit"], one["detail"], one["spark"]["count"]) for one in report["figures"]] == [("no data", "", "", 0)] * 11
    for kind in ("html", "md"):
        assert reported.rendered(report, kind).count("no data") >= 11


def test_errors_without_requests_are_told():
    facts = reported.facts()
    facts["series"]["requests"] = [None] * 288
    facts["series"]["errors_of_load_balancer"][5] = 3.0
    assert figure(report_document.document(facts), "errors")["value"] == "3"


def test_latency_without_its_half():
    facts = reported.facts()
    facts["series"]["latency_p50"] = [None] * 288
    facts["read"]["database"] = None
    report = report_document.document(facts)
    assert figure(report, "latency")["detail"] == "highest p95 310 ms"
    assert figure(report, "db_storage")["detail"].startswith("lowest ")


def test_points_find_their_place():
    moments = [report_times.datetime.datetime.fromtimestamp(at, report_times.UTC) for at in (60, 180, 600)]
    naive = report_times.datetime.datetime(1970, 1, 1, 0, 0, 30)
    pages = [
        {"MetricDataResults": [{"Id": "cpu", "Timestamps": moments, "Values": [1, 2, 3]}]},
        {"MetricDataResults": [{"Id": "cpu", "Timestamps": [naive], "Values": [9]}, {"Id": "other", "Timestamps": moments, "Values": [1, 2, 3]}]},
    ]
    found = report_figures.series(pages, 0, 300, 60)
    assert found["cpu"] == [9, 1, None, 2, None] and found["memory"] == [None] * 5 and "other" not in found


@given(st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=1e15)), max_size=300))
def test_a_sparkline_stays_in_its_room(points):
    spark = report_figures.spark(points)
    places = [tuple(map(float, place.split(","))) for line in spark["lines"] for place in line.split()]
    assert len(places) == spark["count"] == sum(point is not None for point in points)
    assert all(0 <= x <= report_figures.WIDTH and 0 <= y <= report_figures.HEIGHT for x, y in places)
    assert [x for x, _y in places] == sorted(x for x, _y in places)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (2.0, "2"), (0.0412, "0.041"), (5.25, "5.2"), (62.64, "62.6"), (1234567.8, "1 234 568"), (99.97, "100.0")]
)
def test_numbers(value, text):
    assert report_figures.number(value) == text


# --- times, links, commands


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2026-11-20T11:20:00+02:00", "2026-11-20 09:20"), ("2026-11-20T09:20:00Z", "2026-11-20 09:20"), (0, "1970-01-01 00:00"),
        (report_times.datetime.datetime(2026, 11, 20, 9, 20), "2026-11-20 09:20"), (None, ""), ("soon", ""), (True, ""),
    ],
)  # fmt: skip
def test_moments(moment, text):
    assert report_times.shown(moment) == text


@pytest.mark.parametrize(
    ("region", "address"),
    [
        ("eu-west-2", "https://eu-west-2.console.aws.amazon.com/rds/home?region=eu-west-2#database:id=web-db;is-cluster=false"),
        ("cn-north-1", "https://console.amazonaws.cn/rds/home?region=cn-north-1#database:id=web-db;is-cluster=false"),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com/rds/home?region=us-gov-west-1#database:id=web-db;is-cluster=false"),
        ("us-iso-east-1", None),
        ("", None),
    ],
)
def test_each_partition_has_its_console(region, address):
    assert report_links.Console(region).database("web-db") == address


def test_links_of_a_report():
    report = reported.document()
    console = "https://eu-west-2.console.aws.amazon.com"
    links = {one["id"]: one["link"] for one in report["components"]}
    assert links["service"] == f"{console}/ecs/v2/clusters/web/services/web/health?region=eu-west-2"
    assert links["secret-admin's"] == f"{console}/secretsmanager/secret?name=web%2Fadmin&region=eu-west-2"
    assert links["logs"] == f"{console}/cloudwatch/home?region=eu-west-2#logsV2:log-groups/log-group/$252Fecs$252Fweb"
    assert links["web_acl"] == f"{console}/wafv2/homev2/web-acl/web/0b1c/overview?region=eu-west-2"
    assert links["load_balancer"].endswith(f"#LoadBalancer:loadBalancerArn={reported.BALANCER}")
    assert links["targets"] is None and report["address"] == "https://mlflow.example.com"
    assert report_links.Console("eu-west-2").load_balancer('arn:"<') is None


def test_without_a_console_there_is_no_link_to_it():
    report = reported.document(console=False)
    assert {one["link"] for one in [*report["components"], *report["tasks"], *report["alarms"]]} == {None}
    assert "console" not in reported.rendered(report, "html") + reported.rendered(report, "md")


@pytest.mark.parametrize("address", [None, "javascript:alert(1)", "http://[", "file:///etc/passwd", "https://"])
def test_an_address_that_is_none_is_not_linked(address):
    assert reported.document(load_balancer__tracking_uri=address)["address"] is None


def test_links_to_the_documentation_lead_to_it():
    for link in reported.document()["links"]:
        assert (reported.ROOT / link["link"].removeprefix(f"{report_links.DOCUMENTATION}/")).is_file()


def test_commands_are_there():
    makefile = (reported.ROOT / "Makefile").read_text()
    for job in reported.document()["jobs"]:
        target = shlex.split(job["make"])[1]
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        if job["playbook"]:
            assert (reported.ROOT / shlex.split(job["playbook"])[3]).is_file()


def test_commands_name_the_inventory_and_where_needed_the_deployment():
    told = report_jobs.jobs("web", "/srv/my inventories/web", "", True)
    assert told[0]["playbook"] == "ansible-playbook -i '/srv/my inventories/web' playbooks/status.yml --limit web"
    assert {one["make"] for one in told} == {""}
    made = {one["name"]: one["make"] for one in report_jobs.jobs("web", "inventories/web", "web", True)}
    assert made["Run four tasks"] == "make scale ENV=web EXTRA='-e scale_desired_count=4 --limit web'"
    assert made["Show the admin's password"] == "make password ENV=web NAME=web"


# --- the picture


def test_pictures_show_what_there_is():
    report = reported.document()
    for picture in report["pictures"]:
        titles = [one["title"] for one in picture["boxes"]]
        assert sorted(titles) == sorted([
            "Clients, browsers", "Application Load Balancer", "NAT gateway", "Task 0f1e2d3c", "Task 1f1e2d3c", "RDS for PostgreSQL",
            "S3: artifacts", "Secrets Manager", "CloudWatch",
        ])  # fmt: skip
        assert "10.0.0.0/24" in " ".join(label for one in picture["frames"] for label in one["labels"])
    for said in ("TLS", "HTTPS 443", "HTTP 80 redirects", "WAF: web", "Task 0f1e2d3c", "S3 endpoint", "NAT gateway"):
        assert said in report["pictures"][0]["description"] + report["mermaid"]


def apart(one: dict, other: dict) -> bool:
    return (
        one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        or one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(tasks=st.integers(0, 30), internal=st.booleans(), nat=st.integers(0, 2), endpoints=st.integers(0, 3), text=st.text(max_size=60))
def test_boxes_never_overlap(tasks, internal, nat, endpoints, text):
    parts, read = copy.deepcopy(reported.PARTS), {**copy.deepcopy(reported.READ), "internal": internal}
    parts["network"].update(nat_gateway_ids=["nat-1"] * nat, interface_endpoint_ids=["vpce-2"] * endpoints)
    parts["database"]["engine_version"] = text
    told = [{"id": f"{number:032x}", "state": "good", "word": "running, target healthy", "address": text, "zone": ""} for number in range(tasks)]
    for picture in (report_picture.wide(parts, read, told), report_picture.narrow(parts, read, told)):
        assert all(apart(one, other) for one, other in itertools.combinations(picture["boxes"], 2))
        shapes = picture["boxes"] + picture["frames"]
        assert all(0 <= one["x"] and one["x"] + one["width"] <= picture["width"] for one in shapes)
        assert all(0 <= one["y"] and one["y"] + one["height"] <= picture["height"] for one in shapes)
        vpc = next(one for one in picture["frames"] if one["kind"] == "vpc")
        inside = [one for one in picture["boxes"] if not apart(one, vpc)]
        assert len(inside) == 2 + min(tasks, 13) + bool(nat) + bool(endpoints)
        assert all(vpc["y"] < one["y"] and one["y"] + one["height"] < vpc["y"] + vpc["height"] for one in inside)


@settings(max_examples=30, deadline=None)
@example(HOSTILE)
@given(st.text())
def test_labels_of_mermaid_hold_no_markup(text):
    facts = reported.facts(network__vpc_cidr=text)
    lines = report_document.document(facts)["mermaid"].splitlines()
    vpc = next(line for line in lines if "subgraph vpc" in line)
    assert re.fullmatch(r'  subgraph vpc\["[^"`<>\[\]{}|]*"\]', vpc.replace("<br/>", ""))


# --- the pages


def spoilt(value: t.Any, text: str) -> t.Any:
    """Facts in which every text that AWS or a user may choose is `text`."""
    if isinstance(value, dict):
        return {key: one if key in ("zone", "cidr", "status", "state", "protocol") else spoilt(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [spoilt(one, text) for one in value]
    return text if isinstance(value, str) else value


def hostile(text: str) -> dict[str, t.Any]:
    facts = reported.facts(name=text, inventory=f"x{text}", environment=f"x{text}", limit=True)
    events = facts["parts"]["service"]["events"]
    facts["parts"], facts["read"] = spoilt(facts["parts"], text), spoilt(facts["read"], text)
    facts["parts"]["service"]["events"] = [{**one, "message": text} for one in events]
    facts["read"]["unread"] = [text]
    facts["parts"]["cost"]["missing"] = [text]
    return report_document.document(facts)


@functools.cache
def harmless_page(kind: str) -> str:
    return reported.rendered(hostile("x"), kind)


TEXTS = st.text(alphabet="<>\"'&|`[](){}#*_~$\\\n=/ ax", min_size=1, max_size=60)
RENDERED = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RENDERED
@example(HOSTILE)
@given(st.one_of(TEXTS, st.text(min_size=1, max_size=80)))
def test_no_text_becomes_markup(text):
    """A page of hostile texts has the elements of one of harmless texts: none more, none less."""
    page = Page(reported.rendered(hostile(text), "html"))
    harmless = Page(harmless_page("html"))
    count = {tag: len(harmless.all(tag)) for tag, _attributes in harmless.elements}
    # Links and the lines of labels come and go with the text.
    for tag in {tag for tag, _attributes in page.elements} - {"a", "tspan", "text"}:
        assert len(page.all(tag)) == count[tag], tag
    assert not any(name.startswith("on") for _tag, attributes in page.elements for name in attributes)
    for link in page.all("a"):
        assert re.match(r"(https?://|#)", link["href"] or "")


@RENDERED
@example(HOSTILE)
@given(TEXTS)
def test_no_text_breaks_a_table_of_markdown(text):
    lines = reported.rendered(hostile(text), "md").splitlines()
    harmless = harmless_page("md").splitlines()
    for row, wanted in zip((one for one in lines if one.startswith("| ")), (one for one in harmless if one.startswith("| "))):
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == wanted.count("|"), row
        bare = re.sub(r"\\.", "", re.sub(r"\]\(<[^<>\s]*>\)", "", row))
        assert "<" not in bare and "`" not in bare
    assert [one for one in lines if one.startswith("#")][1:] == [one for one in harmless if one.startswith("#")][1:]


def test_a_page_is_whole_and_alone():
    page = Page(reported.rendered(reported.document(), "html"))
    assert not page.all("script") and not page.all("img") and not page.all("iframe")
    assert [one.get("href") for one in page.all("link")] == ["data:,"]
    assert "url(" not in "".join(page.texts).replace("url(#", "") and "@import" not in "".join(page.texts)
    identifiers = [attributes["id"] for _tag, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    levels = [int(tag[1]) for tag, _attributes in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for picture in page.all("svg"):
        assert picture["role"] == "img" and (picture.get("aria-label") or picture.get("aria-labelledby"))
    assert all(header.get("scope") for header in page.all("th"))


def test_all_that_is_put_into_the_page_is_escaped():
    template = (reported.ROLE / "templates/report.html.j2").read_text()
    bare = [
        one
        for one in re.findall(r"{{-? (.*?) -?}}", template)
        if not one.endswith("| e") and not re.match(r"(linked|state|head|lookup)\(|(one|picture)\.(x|y|width|height)\b", one)
    ]
    assert bare == []


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)] if len(colour) == 7 else [int(one * 2, 16) / 255 for one in colour[1:]]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_stand_out_from_what_they_are_on():
    """Contrast of at least 4.5 (WCAG 2, AA), by day, by night and in print."""
    css = (reported.ROLE / "files/report.css").read_text()
    schemes = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root {(.*?)}", css, re.DOTALL)]
    assert len(schemes) == 3
    for colours in schemes:
        pairs = [(text, ground) for text in ("text", "soft", "link") for ground in ("page", "card")] + [("text", "code"), ("soft", "code")]
        pairs += [(state, f"{state}-tint") for state in ("good", "warn", "bad", "off")]
        for text, ground in pairs:
            dark, light = sorted((luminance(colours[text]), luminance(colours[ground])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, colours)


def test_pages_say_the_same():
    report = reported.document(read__unread=["alarms: denied"])
    page, text = " ".join(Page(reported.rendered(report, "html")).texts), reported.rendered(report, "md")
    for said in [
        *(one["word"] for one in report["components"]), *(one["value"] for one in report["figures"]), *(one["message"] for one in report["events"]),
        *(one["id"] for one in report["tasks"]), *(one["playbook"] for one in report["jobs"]), "134.27", "alarms: denied",
    ]:  # fmt: skip
        assert said in page and said in text.replace("\\", ""), said
