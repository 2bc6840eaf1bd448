# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role network on the local AWS: made, made again, changed, half made, half gone, removed."""

from __future__ import annotations

import pytest

NAME = "net-test"
ZONES = ["eu-west-2a", "eu-west-2b"]
VARIABLES = {
    "network_name": NAME,
    "network_tags": {"team": "fraud"},
    "network_availability_zones": ZONES,
    "network_client_cidrs": ["203.0.113.0/24", "198.51.100.0/24"],
    "network_listener_ports": [80, 443],
}
OURS = {"mlflow-deployment": NAME, "managed-by": "mlops.mlflow_aws"}
BY_TAG = [{"Name": "tag:mlflow-deployment", "Values": [NAME]}]
BOTH = ("main", "wait")
INTERFACE_ENDPOINTS = ["interface_endpoint_ids", "endpoints_security_group_id"]
CLOSED = {"network_nat_mode": "none", "network_interface_endpoints": ["ecr.api", "ecr.dkr", "logs", "secretsmanager"]}


@pytest.fixture
def ec2(local_aws):
    return local_aws.client("ec2")


@pytest.fixture
def clean(run_role):
    """Leaves the account without the deployment, whatever the test did."""
    yield
    assert run_role("network", {"network_name": NAME}, "absent").rc == 0


def everything(ec2):
    """Kind -> the deployment's resources, as EC2 describes them."""
    return {
        "vpcs": ec2.describe_vpcs(Filters=BY_TAG)["Vpcs"],
        "subnets": ec2.describe_subnets(Filters=BY_TAG)["Subnets"],
        "internet_gateways": ec2.describe_internet_gateways(Filters=BY_TAG)["InternetGateways"],
        "nat_gateways": [
            nat for nat in ec2.describe_nat_gateways(Filter=BY_TAG)["NatGateways"] if nat["State"] != "deleted"
        ],
        "addresses": ec2.describe_addresses(Filters=BY_TAG)["Addresses"],
        "route_tables": ec2.describe_route_tables(Filters=BY_TAG)["RouteTables"],
        "endpoints": [
            one for one in ec2.describe_vpc_endpoints(Filters=BY_TAG)["VpcEndpoints"] if one["State"] != "deleted"
        ],
        "groups": ec2.describe_security_groups(Filters=BY_TAG)["SecurityGroups"],
        "flow_logs": ec2.describe_flow_logs(Filter=BY_TAG)["FlowLogs"],
    }


def counts(ec2):
    return {kind: len(found) for kind, found in everything(ec2).items()}


WHOLE = {
    "vpcs": 1,
    "subnets": 4,
    "internet_gateways": 1,
    "nat_gateways": 1,
    "addresses": 1,
    "route_tables": 3,
    "endpoints": 1,
    "groups": 4,
    "flow_logs": 0,
}
NONE = dict.fromkeys(WHOLE, 0)


def rules(permissions):
    """Security group rules as a set of (protocol, from, to, peer)."""
    return {
        (one["IpProtocol"], one.get("FromPort"), one.get("ToPort"), peer)
        for one in permissions
        for peer in [item["CidrIp"] for item in one["IpRanges"]] + [item["GroupId"] for item in one["UserIdGroupPairs"]]
    }


@pytest.fixture
def logged(local_aws):
    """Variables with flow logs to a bucket."""
    where = {"LocationConstraint": "eu-west-2"}
    local_aws.client("s3").create_bucket(Bucket="net-test-logs", CreateBucketConfiguration=where)
    yield {**VARIABLES, "network_flow_logs_bucket": "net-test-logs", "network_flow_logs_prefix": "team"}
    local_aws.client("s3").delete_bucket(Bucket="net-test-logs")


def test_the_quartet_and_what_it_makes(run_role, ec2, logged):
    predicted = run_role("network", logged, BOTH, check=True)
    assert predicted.rc == 0 and predicted.changed > 0 and predicted.writes == [], predicted.stdout
    assert predicted.outputs["vpc_id"] is None and predicted.outputs["public_subnet_ids"] == []

    made = run_role("network", logged, BOTH)
    assert made.rc == 0 and made.changed > 0, made.stdout
    assert [key for key, value in made.outputs.items() if not value] == INTERFACE_ENDPOINTS and made.outputs["availability_zones"] == ZONES
    assert counts(ec2) == {**WHOLE, "flow_logs": 1}
    assert everything(ec2)["flow_logs"][0]["LogDestination"] == "arn:aws:s3:::net-test-logs/team"
    check_tags(everything(ec2))
    check_rules(ec2, made.outputs)
    check_routes(ec2, made.outputs)

    for check in (True, False):
        again = run_role("network", logged, BOTH, check=check)
        assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout
        assert again.outputs == made.outputs
    info = run_role("network", {"network_name": NAME}, "info")
    assert (info.changed, info.writes, info.outputs) == (0, [], made.outputs)

    predicted = run_role("network", {"network_name": NAME}, "absent", check=True)
    assert predicted.rc == 0 and predicted.changed > 0 and predicted.writes == []
    removed = run_role("network", {"network_name": NAME}, "absent")
    assert removed.rc == 0 and removed.changed > 0, removed.stdout
    assert counts(ec2) == NONE
    again = run_role("network", {"network_name": NAME}, ("absent", "info"))
    assert (again.rc, again.changed, again.writes) == (0, 0, [])
    assert not any(again.outputs.values())


def shape(ec2):
    """What there is of the network that can be changed by hand: (kind, id) -> tags and properties."""
    found = everything(ec2)
    shapes = {}
    for kind, properties in PROPERTIES.items():
        for one in found[kind]:
            tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
            shapes[kind, one[IDS[kind]]] = tags, properties(ec2, one)
    return shapes


IDS = {
    "vpcs": "VpcId",
    "subnets": "SubnetId",
    "internet_gateways": "InternetGatewayId",
    "nat_gateways": "NatGatewayId",
    "addresses": "AllocationId",
    "route_tables": "RouteTableId",
    "endpoints": "VpcEndpointId",
    "groups": "GroupId",
}
PROPERTIES = {
    "vpcs": lambda ec2, one: [
        ec2.describe_vpc_attribute(VpcId=one["VpcId"], Attribute=f"enable{name}")[f"Enable{name}"] for name in ("DnsSupport", "DnsHostnames")
    ],
    "subnets": lambda _ec2, one: one["MapPublicIpOnLaunch"],
    "internet_gateways": lambda _ec2, one: one["Attachments"],
    "nat_gateways": lambda _ec2, one: one["SubnetId"],
    "addresses": lambda _ec2, one: one["PublicIp"],
    "route_tables": lambda _ec2, one: (
        sorted(str(sorted(route.items())) for route in one["Routes"]),
        sorted(association["SubnetId"] for association in one["Associations"]),
    ),
    "endpoints": lambda _ec2, one: sorted(one["RouteTableIds"]),
    "groups": lambda _ec2, one: (rules(one["IpPermissions"]), rules(one["IpPermissionsEgress"])),
}


def retag(ec2, made):
    for kind, one in made:
        ec2.create_tags(Resources=[one], Tags=[{"Key": "team", "Value": f"theirs-{kind}"}])
    return set(made)


def rearrange(ec2, made):
    """Changes something of every part that something but its tags can be changed of; answers what differs then."""
    ids = {kind: [one for of, one in made if of == kind] for kind in IDS}
    ec2.modify_vpc_attribute(VpcId=ids["vpcs"][0], EnableDnsHostnames={"Value": False})
    ec2.modify_subnet_attribute(SubnetId=ids["subnets"][0], MapPublicIpOnLaunch={"Value": True})
    for table, number in zip(everything(ec2)["route_tables"], range(3)):
        if number == 0:
            ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")
        elif number == 1:
            ec2.create_route(
                RouteTableId=table["RouteTableId"], DestinationCidrBlock="192.0.2.0/24", NatGatewayId=ids["nat_gateways"][0]
            )
        else:
            ec2.disassociate_route_table(AssociationId=table["Associations"][0]["RouteTableAssociationId"])
    more = {"IpProtocol": "udp", "FromPort": 53, "ToPort": 54, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}
    for group in ids["groups"]:
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[more])
    return {(kind, one) for kind in ("vpcs", "route_tables", "groups") for one in ids[kind]} | {("subnets", ids["subnets"][0])}


@pytest.mark.usefixtures("clean")
def test_what_was_changed_by_hand_is_mended(run_role, ec2):
    assert run_role("network", VARIABLES, BOTH).rc == 0
    made = shape(ec2)
    for change in (retag, rearrange):
        changed = change(ec2, made)
        assert {one for one, what in shape(ec2).items() if what != made[one]} == changed
        mended = run_role("network", VARIABLES, BOTH)
        assert mended.rc == 0 and shape(ec2) == made, mended.stdout


@pytest.mark.long
def test_flow_logs_go_on_and_off(run_role, ec2, logged, clean):
    plain = run_role("network", VARIABLES)
    assert plain.rc == 0 and plain.outputs["flow_log_id"] is None, plain.stdout
    on = run_role("network", logged)
    assert on.writes == ["ec2:CreateFlowLogs"] and on.outputs["flow_log_id"], on.stdout
    (log,) = everything(ec2)["flow_logs"]
    assert log["ResourceId"] == on.outputs["vpc_id"]
    predicted = run_role("network", VARIABLES, check=True)
    assert (predicted.changed, predicted.writes) == (1, []), predicted.stdout
    off = run_role("network", VARIABLES)
    assert (off.changed, off.writes) == (1, ["ec2:DeleteFlowLogs"]), off.stdout
    assert off.outputs == plain.outputs


def test_subnets_without_zones_are_refused(run_role):
    refused = run_role("network", {**VARIABLES, "network_availability_zones": []})
    assert refused.rc != 0 and refused.writes == []
    assert "name as many zones as there are ranges" in refused.stdout


def check_tags(found):
    for kind, resources in found.items():
        for resource in resources:
            tags = {tag["Key"]: tag["Value"] for tag in resource["Tags"]}
            assert OURS.items() <= tags.items() and tags["team"] == "fraud", kind
            assert tags["Name"].startswith(NAME), kind


def check_rules(ec2, outputs):
    alb, ecs, rds = (outputs[f"{kind}_security_group_id"] for kind in ("alb", "ecs", "rds"))
    groups = {group["GroupId"]: group for group in ec2.describe_security_groups(Filters=BY_TAG)["SecurityGroups"]}
    ingress = {group_id: rules(group["IpPermissions"]) for group_id, group in groups.items()}
    egress = {group_id: rules(group["IpPermissionsEgress"]) for group_id, group in groups.items()}
    clients = VARIABLES["network_client_cidrs"]
    assert ingress[alb] == {("tcp", port, port, cidr) for port in (80, 443) for cidr in clients}
    assert egress[alb] == {("tcp", 5000, 5000, ecs)}
    assert ingress[ecs] == {("tcp", 5000, 5000, alb)}
    assert egress[ecs] == {("tcp", 5432, 5432, rds), ("tcp", 443, 443, "0.0.0.0/0")}
    assert ingress[rds] == {("tcp", 5432, 5432, ecs)} and egress[rds] == set()
    (default,) = [group_id for group_id, group in groups.items() if group["GroupName"] == "default"]
    assert ingress[default] == egress[default] == set()


def check_routes(ec2, outputs):
    tables = ec2.describe_route_tables(Filters=BY_TAG)["RouteTables"]
    served = {}
    for table in tables:
        (default,) = [route for route in table["Routes"] if route.get("DestinationCidrBlock") == "0.0.0.0/0"]
        for association in table["Associations"]:
            served[association["SubnetId"]] = default.get("NatGatewayId") or default["GatewayId"]
    assert served == {
        **dict.fromkeys(outputs["public_subnet_ids"], outputs["internet_gateway_id"]),
        **dict.fromkeys(outputs["private_subnet_ids"], outputs["nat_gateway_ids"][0]),
    }
    (endpoint,) = ec2.describe_vpc_endpoints(VpcEndpointIds=[outputs["s3_endpoint_id"]])["VpcEndpoints"]
    assert endpoint["ServiceName"] == "com.amazonaws.eu-west-2.s3" and len(endpoint["RouteTableIds"]) == 2


@pytest.mark.long
@pytest.mark.usefixtures("clean")
def test_the_nat_mode_can_be_changed(run_role, ec2):
    per_zone = run_role("network", {**VARIABLES, "network_nat_mode": "per_zone"}, BOTH)
    assert per_zone.rc == 0 and len(per_zone.outputs["nat_gateway_ids"]) == 2, per_zone.stdout
    ways = {
        route["NatGatewayId"]
        for table in everything(ec2)["route_tables"]
        for route in table["Routes"]
        if "NatGatewayId" in route
    }
    assert ways == set(per_zone.outputs["nat_gateway_ids"])

    none = run_role("network", {**VARIABLES, "network_nat_mode": "none"}, BOTH)
    assert none.rc == 0 and none.outputs["nat_gateway_ids"] == [], none.stdout
    assert counts(ec2) == {**WHOLE, "nat_gateways": 0, "addresses": 0}
    (group,) = ec2.describe_security_groups(GroupIds=[none.outputs["ecs_security_group_id"]])["SecurityGroups"]
    https = [one for one in group["IpPermissionsEgress"] if one["FromPort"] == 443]
    assert [item["CidrIp"] for one in https for item in one["IpRanges"]] == ["10.0.0.0/16"]
    assert sum(len(one["PrefixListIds"]) for one in https) == 1
    again = run_role("network", {**VARIABLES, "network_nat_mode": "none"}, BOTH)
    assert (again.changed, again.writes) == (0, []), again.stdout

    moved = run_role("network", {**VARIABLES, "network_vpc_cidr": "10.1.0.0/16"})
    assert moved.rc != 0 and "which AWS cannot change" in moved.stdout and moved.writes == []


WITHOUT_INTERNET = {**VARIABLES, **CLOSED, "network_deny_remote_access": True}


@pytest.mark.long
@pytest.mark.usefixtures("clean")
def test_a_network_without_the_internet(run_role, ec2):
    made = run_role("network", WITHOUT_INTERNET, BOTH)
    assert made.rc == 0 and len(made.outputs["interface_endpoint_ids"]) == 4, made.stdout
    assert counts(ec2) == {**WHOLE, "nat_gateways": 0, "addresses": 0, "endpoints": 5, "groups": 5}
    for endpoint in ec2.describe_vpc_endpoints(VpcEndpointIds=made.outputs["interface_endpoint_ids"])["VpcEndpoints"]:
        assert (endpoint["State"], endpoint["PrivateDnsEnabled"]) == ("available", True)
        assert sorted(endpoint["SubnetIds"]) == sorted(made.outputs["private_subnet_ids"])
        assert [group["GroupId"] for group in endpoint["Groups"]] == [made.outputs["endpoints_security_group_id"]]
    (group,) = ec2.describe_security_groups(GroupIds=[made.outputs["endpoints_security_group_id"]])["SecurityGroups"]
    assert rules(group["IpPermissions"]) == {("tcp", 443, 443, made.outputs["ecs_security_group_id"])}
    assert group["IpPermissionsEgress"] == []
    assert denied_ports(ec2, made.outputs["vpc_id"]) == [22, 3389]
    again = run_role("network", WITHOUT_INTERNET, BOTH)
    assert (again.rc, again.changed, again.writes, again.outputs) == (0, 0, [], made.outputs), again.stdout


@pytest.mark.long
@pytest.mark.usefixtures("clean")
def test_the_way_to_the_internet_goes_and_comes_back(run_role, ec2):
    predicted = run_role("network", WITHOUT_INTERNET, BOTH, check=True)
    assert predicted.rc == 0 and predicted.changed > 0 and predicted.writes == [], predicted.stdout
    made = run_role("network", WITHOUT_INTERNET, BOTH)
    checked = run_role("network", WITHOUT_INTERNET, BOTH, check=True)
    assert (checked.rc, checked.changed, checked.writes) == (0, 0, []), checked.stdout
    fewer = run_role("network", {**WITHOUT_INTERNET, "network_interface_endpoints": ["logs"]}, BOTH)
    assert fewer.rc == 0 and set(fewer.outputs["interface_endpoint_ids"]) < set(made.outputs["interface_endpoint_ids"]), fewer.stdout
    plain = run_role("network", VARIABLES, BOTH)
    assert plain.rc == 0 and [plain.outputs[key] for key in INTERFACE_ENDPOINTS] == [[], None], plain.stdout
    assert counts(ec2) == WHOLE and denied_ports(ec2, made.outputs["vpc_id"]) == []
    again = run_role("network", VARIABLES, BOTH)
    assert (again.rc, again.changed, again.writes) == (0, 0, []), again.stdout


def denied_ports(ec2, vpc_id):
    (acl,) = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])["NetworkAcls"]
    return [entry["PortRange"]["From"] for entry in acl["Entries"] if entry["RuleAction"] == "deny" and "PortRange" in entry]


@pytest.mark.long
@pytest.mark.usefixtures("clean")
def test_an_interrupted_run_is_completed_and_a_half_gone_network_removed(run_role, ec2):
    tags = [{"Key": key, "Value": value} for key, value in OURS.items()]
    nat_tag = [{"Key": "mlflow-nat", "Value": f"{NAME}/{ZONES[0]}"}]
    ec2.create_internet_gateway(TagSpecifications=[{"ResourceType": "internet-gateway", "Tags": tags}])
    ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags + nat_tag}])
    assert run_role("network", VARIABLES).rc == 0
    whole = run_role("network", VARIABLES, BOTH)
    missing = [name for name, value in whole.outputs.items() if not value]
    assert (whole.rc, missing) == (0, [INTERFACE_ENDPOINTS[0], "flow_log_id", INTERFACE_ENDPOINTS[1]]), whole.stdout
    assert counts(ec2) == WHOLE

    found = everything(ec2)
    ec2.delete_vpc_endpoints(VpcEndpointIds=[whole.outputs["s3_endpoint_id"]])
    for table in found["route_tables"]:
        for association in table["Associations"]:
            ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        ec2.delete_route_table(RouteTableId=table["RouteTableId"])
    removed = run_role("network", {"network_name": NAME}, "absent")
    assert removed.rc == 0, removed.stdout
    assert counts(ec2) == NONE


def test_an_existing_vpc_gets_security_groups_only(run_role, ec2):
    vpc_id = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ids = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=ZONES[number % 2])["Subnet"][
            "SubnetId"
        ]
        for number in range(4)
    ]
    variables = {
        "network_name": NAME,
        "network_vpc_id": vpc_id,
        "network_public_subnet_ids": ids[:2],
        "network_private_subnet_ids": ids[2:],
    }
    made = run_role("network", variables, BOTH)
    assert made.rc == 0 and {call.split(":")[0] for call in made.writes} == {"ec2"}, made.stdout
    assert {call for call in made.writes if "SecurityGroup" not in call and "Tags" not in call} == set()
    assert counts(ec2) == {**NONE, "groups": 3}
    assert (made.outputs["vpc_id"], made.outputs["public_subnet_ids"], made.outputs["private_subnet_ids"]) == (
        vpc_id,
        ids[:2],
        ids[2:],
    )
    again = run_role("network", variables, BOTH)
    assert (again.changed, again.writes) == (0, []), again.stdout
    removed = run_role("network", variables, "absent")
    assert removed.rc == 0 and counts(ec2) == NONE
    assert len(ec2.describe_subnets(SubnetIds=ids)["Subnets"]) == 4

    foreign = ec2.create_security_group(GroupName=f"{NAME}-ecs", Description="theirs", VpcId=vpc_id)["GroupId"]
    for entry in ("main", "absent"):
        refused = run_role("network", variables, entry)
        assert refused.rc != 0 and refused.writes == []
        assert f"security group '{NAME}-ecs' ({foreign}) of {vpc_id} has a name of deployment" in refused.stdout
    for subnet_id in ids:
        ec2.delete_subnet(SubnetId=subnet_id)
    ec2.delete_security_group(GroupId=foreign)
    ec2.delete_vpc(VpcId=vpc_id)
