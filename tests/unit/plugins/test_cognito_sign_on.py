# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user pool to sign on at: what is refused, and what a second run, check mode, another owner and people by hand see."""

from __future__ import annotations

import json
import typing as t

import boto3
import pytest
from moto import mock_aws
from moto.cognitoidp import models
from moto.cognitoidp.exceptions import InvalidParameterException
from moto.cognitoidp.responses import CognitoIdpResponse
from moto.core.responses import EmptyResult

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import cognito_pools, cognito_rules
from ansible_collections.mlops.mlflow_aws.plugins.modules import cognito_sign_on, cognito_sign_on_info

pytestmark = pytest.mark.usefixtures("aws_environment", "tags", "patience")
OURS = {"team": "web"}
WANTED = {
    "name": "web", "owner_tags": OURS, "tags": OURS, "region": "eu-west-2", "domain_prefix": "team-web",
    "address": "Web.example.com:8443",
}  # fmt: skip
GONE = {"name": "web", "owner_tags": OURS, "region": "eu-west-2", "state": "absent"}
CALLBACK = "https://web.example.com:8443/oauth2/idpresponse"


@pytest.fixture
def tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has no such operations; its own state keeps them."""

    def change(self: t.Any, add: bool) -> t.Any:
        pool = next(one for one in self.backend.user_pools.values() if one.arn == self._get_param("ResourceArn"))
        now = pool.extended_config["UserPoolTags"]
        now.update(self._get_param("Tags")) if add else [now.pop(key) for key in self._get_param("TagKeys")]
        return EmptyResult()

    monkeypatch.setattr(CognitoIdpResponse, "tag_resource", lambda self: change(self, True), raising=False)
    monkeypatch.setattr(CognitoIdpResponse, "untag_resource", lambda self: change(self, False), raising=False)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cognito_pools, "POLL_SECONDS", 0)


@pytest.fixture
def cognito() -> t.Iterator[t.Any]:
    with mock_aws():
        yield boto3.client("cognito-idp", region_name="eu-west-2")


@pytest.fixture
def keep(run_module: t.Callable, cognito: t.Any) -> t.Callable[..., dict]:
    def run(check: bool = False, **others: t.Any) -> dict:
        answer = run_module(cognito_sign_on, {**WANTED, **others}, check=check)
        for pool in cognito.list_user_pools(MaxResults=60)["UserPools"]:
            for one in cognito.list_user_pool_clients(UserPoolId=pool["Id"])["UserPoolClients"]:
                told = cognito.describe_user_pool_client(UserPoolId=pool["Id"], ClientId=one["ClientId"])["UserPoolClient"]
                assert told.get("ClientSecret", "it has no secret") not in json.dumps(answer)
        return answer

    return run


def pool_of(cognito: t.Any, answer: dict) -> dict:
    pool_id = answer["sign_on"]["user_pool_arn"].rpartition("/")[2]
    return cognito.describe_user_pool(UserPoolId=pool_id)["UserPool"]


def client_of(cognito: t.Any, answer: dict) -> dict:
    pool, client_id = pool_of(cognito, answer), answer["sign_on"]["user_pool_client_id"]
    return cognito.describe_user_pool_client(UserPoolId=pool["Id"], ClientId=client_id)["UserPoolClient"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "web/1"}, "cognito_name = 'web/1': it cannot name a user pool"),
        ({"domain_prefix": "Team"}, "cognito_domain_prefix = 'Team': a domain has 1 to 63 lower-case letters"),
        ({"domain_prefix": "team-"}, "none at its ends"),
        ({"domain_prefix": "my-amazon-team"}, "AWS keeps the word amazon for itself"),
        ({"domain_prefix": "mycognito"}, "AWS keeps the word cognito for itself"),
        ({"domain_prefix": "a" * 64}, "a domain has 1 to 63"),
        ({"password_min_length": 7}, "cognito_password_min_length = 7: it must be 8 to 99"),
        ({"identity_providers": []}, "nobody could sign on"),
        ({"scope": "email"}, "it does not hold openid"),
        ({"scope": "openid orders/read"}, "orders/read cannot be asked for"),
    ],
)
def test_what_is_refused(keep: t.Callable, cognito: t.Any, change: dict, reason: str) -> None:
    answer = keep(**change)
    assert answer["failed"] and reason in answer["msg"] and "\n" not in answer["msg"]
    assert cognito.list_user_pools(MaxResults=1)["UserPools"] == []


def test_life_of_a_pool(keep: t.Callable, run_module: t.Callable, cognito: t.Any) -> None:
    predicted = keep(check=True)
    nothing = {"user_pool_arn": None, "user_pool_client_id": None, "user_pool_domain": "team-web"}
    assert predicted["changed"] and predicted["sign_on"] == nothing
    assert cognito.list_user_pools(MaxResults=1)["UserPools"] == []
    made = keep()
    assert made["changed"] and made["diff"] == predicted["diff"]
    pool, client = pool_of(cognito, made), client_of(cognito, made)
    assert (pool["Name"], pool["Domain"], pool["UserPoolTags"]) == ("web", "team-web", OURS)
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] and pool["DeletionProtection"] == "ACTIVE"
    assert pool["Policies"]["PasswordPolicy"]["MinimumLength"] == 14 and pool["UsernameAttributes"] == ["email"]
    assert client["ClientSecret"] and client["AllowedOAuthFlows"] == ["code"] and client["CallbackURLs"] == [CALLBACK]
    assert client["LogoutURLs"] == ["https://web.example.com:8443/"] and client["AllowedOAuthScopes"] == ["email", "openid"]
    for check in (True, False):
        again = keep(check=check)
        assert not again["changed"] and again["sign_on"] == made["sign_on"]
    refused = run_module(cognito_sign_on, GONE)
    assert refused["failed"] and "say cognito_delete_protected=true to lift it" in refused["msg"]
    gone = run_module(cognito_sign_on, {**GONE, "delete_protected": True}, check=True)
    assert list(gone["diff"]["before"]) == ["deletion_protection", "domain team-web", "user pool"]
    assert cognito.list_user_pools(MaxResults=1)["UserPools"]
    assert run_module(cognito_sign_on, {**GONE, "delete_protected": True})["changed"]
    assert cognito.list_user_pools(MaxResults=1)["UserPools"] == []
    assert not run_module(cognito_sign_on, GONE)["changed"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"domain_prefix": "team-other"}, "domain"),
        ({"password_min_length": 20}, "user pool"),
        ({"deletion_protection": False}, "user pool"),
        ({"mfa": "on"}, "mfa"),
        ({"mfa": "optional"}, "mfa"),
        ({"address": "web.example.com"}, "app client"),
        ({"scope": "openid"}, "app client"),
        ({"identity_providers": ["COGNITO", "Google"]}, "app client"),
        ({"tags": {**OURS, "cost-centre": 42}}, "tags"),
    ],
)
def test_every_option_is_seen_and_settles(keep: t.Callable, cognito: t.Any, change: dict, what: str) -> None:
    first = keep()
    predicted, changed = keep(check=True, **change), keep(**change)
    assert list(predicted["diff"]["after"]) == [what] and changed["diff"] == predicted["diff"]
    assert not keep(**change)["changed"]
    back = keep()
    assert list(back["diff"]["after"]) == [what] and not keep()["changed"]
    assert back["sign_on"]["user_pool_arn"] == first["sign_on"]["user_pool_arn"]


def test_what_people_have_set_by_hand_is_put_right_or_left(keep: t.Callable, cognito: t.Any) -> None:
    made = keep(mfa="on")
    pool, client = pool_of(cognito, made), client_of(cognito, made)
    message = {"EmailMessage": "Come in with {####}", "EmailSubject": "Welcome"}
    cognito.update_user_pool(
        UserPoolId=pool["Id"], AdminCreateUserConfig={"AllowAdminCreateUserOnly": False}, VerificationMessageTemplate=message,
        UserPoolTags=OURS,
    )  # fmt: skip
    wrong = {"CallbackURLs": ["https://elsewhere.example/"], "RefreshTokenValidity": 5}
    cognito.update_user_pool_client(UserPoolId=pool["Id"], ClientId=client["ClientId"], **wrong)
    again = keep(mfa="on")
    assert again["diff"]["after"]["user pool"]["AdminCreateUserConfig.AllowAdminCreateUserOnly"] is True
    assert again["diff"]["after"]["app client"] == {"CallbackURLs": [CALLBACK]}
    pool, client = pool_of(cognito, again), client_of(cognito, again)
    assert pool["VerificationMessageTemplate"] == message
    assert cognito.get_user_pool_mfa_config(UserPoolId=pool["Id"])["MfaConfiguration"] == "ON"
    assert client["RefreshTokenValidity"] == 5 and client["CallbackURLs"] == [CALLBACK]


def test_a_client_without_a_secret_is_no_use(keep: t.Callable, cognito: t.Any) -> None:
    made = keep()
    pool = pool_of(cognito, made)
    cognito.delete_user_pool_client(UserPoolId=pool["Id"], ClientId=made["sign_on"]["user_pool_client_id"])
    cognito.create_user_pool_client(UserPoolId=pool["Id"], ClientName="web")
    again = keep()
    assert list(again["diff"]["after"]) == ["app client"] and client_of(cognito, again)["ClientSecret"]


def test_pools_of_others_are_left_alone(keep: t.Callable, run_module: t.Callable, cognito: t.Any) -> None:
    theirs = cognito.create_user_pool(PoolName="web", UserPoolTags={"team": "other"})["UserPool"]["Id"]
    for answer in (keep(), run_module(cognito_sign_on, {**GONE, "delete_protected": True})):
        assert answer["failed"] and "is not ours to touch" in answer["msg"]
    cognito.create_user_pool(PoolName="web", UserPoolTags=OURS)
    assert keep()["changed"], "names of pools are not unique: ours is known by its tags"
    cognito.create_user_pool(PoolName="web", UserPoolTags=OURS)
    assert "one is enough" in keep()["msg"]
    assert cognito.describe_user_pool(UserPoolId=theirs)["UserPool"].get("Domain") is None


def test_a_domain_of_another_pool_is_refused(
    keep: t.Callable, cognito: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cognito.create_user_pool(PoolName="other")["UserPool"]["Id"]
    cognito.create_user_pool_domain(UserPoolId=other, Domain="team-web")
    for check in (True, False):
        assert "cognito_domain_prefix = 'team-web': another user pool of this region has it" in keep(check=check)["msg"]
    assert [one["Name"] for one in cognito.list_user_pools(MaxResults=9)["UserPools"]] == ["other"]

    # That of another account is seen only now.
    def taken(*_args: t.Any, **_kwargs: t.Any) -> None:
        raise InvalidParameterException("Domain already associated with another user pool.")

    monkeypatch.setattr(models.CognitoIdpBackend, "create_user_pool_domain", taken)
    assert "perhaps in another account" in keep(domain_prefix="team-free")["msg"]
    monkeypatch.undo()


def test_a_new_domain_is_awaited(keep: t.Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    states = ["CREATING", "CREATING", "ACTIVE"]
    plain = models.CognitoIdpUserPoolDomain.to_json

    def slow(self: t.Any, extended: bool = True) -> dict:
        return {**plain(self, extended), "Status": states.pop(0) if len(states) > 1 else states[0]}

    monkeypatch.setattr(models.CognitoIdpUserPoolDomain, "to_json", slow)
    assert keep()["changed"] and states == ["ACTIVE"]
    states[:] = ["FAILED"]
    assert "it is FAILED and not ACTIVE" in keep(domain_prefix="team-broken")["msg"]
    states[:] = ["CREATING"]
    assert "it is CREATING and not ACTIVE" in keep(domain_prefix="team-slow", wait_timeout=0)["msg"]


GIVEN = {"region": "eu-west-2", "address": "web.example.com:8443", "scope": "openid"}


@pytest.fixture
def given(keep: t.Callable) -> dict:
    """A pool that is good, as the options of cognito_sign_on_info."""
    made = keep()["sign_on"]
    return {
        **GIVEN, "user_pool_arn": made["user_pool_arn"], "client_id": made["user_pool_client_id"], "domain": "team-web"
    }  # fmt: skip


def test_a_pool_is_found_by_name_or_as_given(given: dict, run_module: t.Callable) -> None:
    told = {
        "user_pool_arn": given["user_pool_arn"], "user_pool_client_id": given["client_id"], "user_pool_domain": "team-web"
    }  # fmt: skip
    assert run_module(cognito_sign_on_info, given)["sign_on"] == told
    assert run_module(cognito_sign_on_info, {**given, "address": ""})["sign_on"] == told
    by_name = {"name": "web", "owner_tags": OURS, "region": "eu-west-2"}
    assert run_module(cognito_sign_on_info, by_name)["sign_on"] == told
    assert set(run_module(cognito_sign_on_info, {**by_name, "name": "none"})["sign_on"].values()) == {None}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"user_pool_arn": "eu-west-2_AbC"}, "cognito_user_pool_arn = 'eu-west-2_AbC': it is not the ARN of a user pool"),
        ({"user_pool_arn": "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/a"}, "the pool is in eu-west-1"),
        ({"user_pool_arn": "arn:aws:cognito-idp:eu-west-2:123456789012:userpool/a"}, "there is no such pool"),
        ({"client_id": "nobody"}, "cognito_client_id = 'nobody': the user pool has no such app client"),
        ({"client_id": ""}, "cognito_client_id = '': it is empty"),
        ({"domain": ""}, "cognito_domain = '': it is empty"),
        ({"domain": "other"}, "cognito_domain = 'other': it is not a domain of the user pool; use team-web"),
        ({"address": "other.example.com"}, "https://other.example.com/oauth2/idpresponse is none of the app client's"),
        ({"scope": "openid phone"}, "phone cannot be asked for; use email, openid"),
    ],
)
def test_pools_that_a_load_balancer_cannot_use_are_refused(
    given: dict, run_module: t.Callable, wrong: dict, reason: str
) -> None:
    refused = run_module(cognito_sign_on_info, {**given, **wrong})
    assert refused["failed"] and reason in refused["msg"] and "\n" not in refused["msg"]


def test_clients_that_a_load_balancer_cannot_use_are_refused(given: dict, run_module: t.Callable, cognito: t.Any) -> None:
    pool_id = given["user_pool_arn"].rpartition("/")[2]
    plain = cognito.create_user_pool_client(UserPoolId=pool_id, ClientName="plain", AllowedOAuthScopes=["openid"])
    refused = run_module(cognito_sign_on_info, {**given, "client_id": plain["UserPoolClient"]["ClientId"]})
    for reason in ("3 problems", "has no secret", "authorization code grant", "callback URLs"):
        assert reason in refused["msg"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "off"),
        ({"MfaConfiguration": "OPTIONAL", "SoftwareTokenMfaConfiguration": {"Enabled": True}}, "optional"),
        ({"MfaConfiguration": "ON", "SmsMfaConfiguration": {}}, "on, without software tokens"),
    ],
)
def test_mfa_is_told_in_the_words_of_the_option(config: dict, told: str) -> None:
    assert cognito_rules.mfa_told(config) == told


def test_an_update_keeps_all_but_what_has_an_operation_of_its_own() -> None:
    current = {
        "Id": "a", "MfaConfiguration": "ON", "EmailVerificationMessage": "{####}", "LambdaConfig": None,
        "VerificationMessageTemplate": {"EmailMessage": "{####}"},
        "Policies": {"PasswordPolicy": {"MinimumLength": 8, "PasswordHistorySize": 3}},
        "AdminCreateUserConfig": {"UnusedAccountValidityDays": 7, "AllowAdminCreateUserOnly": False},
    }  # fmt: skip
    wanted = {"Policies": {"PasswordPolicy": {"MinimumLength": 14}}, "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": True}}
    assert cognito_rules.update(current, wanted, set(current) - {"Id"}) == {
        "VerificationMessageTemplate": {"EmailMessage": "{####}"},
        "Policies": {"PasswordPolicy": {"MinimumLength": 14, "PasswordHistorySize": 3}},
        "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": True},
    }
    assert cognito_rules.update({"A": 1, "B": 2}, {"A": 3}, {"A"}) == {"A": 3}
