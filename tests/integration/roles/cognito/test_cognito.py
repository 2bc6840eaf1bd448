# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role cognito on a local AWS: a pool that is made, and one that is given."""

from __future__ import annotations

import typing as t

import pytest

ADDRESS = "mlflow.example.com:8443"
# Each by itself: tests/unit/plugins/test_cognito_sign_on.py.
MADE = {"cognito_name": "people", "cognito_domain_prefix": "people-of-a", "cognito_address": ADDRESS, "cognito_tags": {"team": "a"}}


@pytest.mark.long
def test_life_of_a_pool(run_role: t.Callable, local_aws: t.Any) -> None:
    cognito = local_aws.client("cognito-idp")
    check = run_role("cognito", MADE, ("check", "main"), check=True)
    assert (check.rc, check.changed, check.writes) == (0, 1, []), check.stdout
    made = run_role("cognito", MADE, ("check", "main"), verbosity=3)
    assert (made.rc, made.changed) == (0, 1), made.stdout
    assert {one for one in made.writes if one.startswith("cognito-idp:")} == {
        "cognito-idp:CreateUserPool", "cognito-idp:CreateUserPoolClient", "cognito-idp:CreateUserPoolDomain"
    }  # fmt: skip
    for checking in (True, False):
        again = run_role("cognito", MADE, check=checking)
        assert (again.rc, again.changed, again.writes, again.outputs) == (0, 0, [], made.outputs), again.stdout
    assert run_role("cognito", {"cognito_name": "people"}, "info").outputs == made.outputs
    pool_id = made.outputs["user_pool_arn"].rpartition("/")[2]
    client_id = made.outputs["user_pool_client_id"]
    client = cognito.describe_user_pool_client(UserPoolId=pool_id, ClientId=client_id)["UserPoolClient"]
    assert client["ClientSecret"] not in made.stdout and client["ClientSecret"] not in str(made.outputs)
    tags = cognito.describe_user_pool(UserPoolId=pool_id)["UserPool"]["UserPoolTags"]
    assert tags == {"team": "a", "mlflow-deployment": "people", "managed-by": "mlops.mlflow_aws"}
    other = {**MADE, "cognito_mfa": "on", "cognito_domain_prefix": "people-of-b", "cognito_password_min_length": 16}
    predicted, changed = run_role("cognito", other, check=True), run_role("cognito", other)
    assert (predicted.changed, predicted.writes, changed.changed) == (1, [], 1), changed.stdout
    assert run_role("cognito", other).writes == []
    assert cognito.get_user_pool_mfa_config(UserPoolId=pool_id)["MfaConfiguration"] == "ON"
    kept = run_role("cognito", {"cognito_name": "people"}, "absent")
    assert kept.rc != 0 and kept.writes == [] and "say cognito_delete_protected=true" in " ".join(kept.stdout.split())
    doomed = {"cognito_name": "people", "cognito_delete_protected": True}
    gone = run_role("cognito", doomed, "absent")
    assert (gone.rc, gone.changed) == (0, 1), gone.stdout
    twice = run_role("cognito", doomed, "absent")
    assert (twice.rc, twice.changed, twice.writes) == (0, 0, []), twice.stdout
    assert cognito.list_user_pools(MaxResults=9)["UserPools"] == []


def test_a_pool_that_is_given_is_looked_at_only(run_role: t.Callable, local_aws: t.Any) -> None:
    cognito = local_aws.client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="company")["UserPool"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool["Id"], ClientName="balancer", GenerateSecret=True, AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthFlows=["code"], AllowedOAuthScopes=["openid"], CallbackURLs=[f"https://{ADDRESS}/oauth2/idpresponse"],
    )["UserPoolClient"]  # fmt: skip
    cognito.create_user_pool_domain(UserPoolId=pool["Id"], Domain="company")
    given = {
        "cognito_name": "given", "cognito_address": ADDRESS, "cognito_user_pool_arn": pool["Arn"], "cognito_scope": "openid",
        "cognito_client_id": client["ClientId"], "cognito_domain": "company",
    }  # fmt: skip
    found = run_role("cognito", given, ("check", "main"))
    assert (found.rc, found.changed, found.writes) == (0, 0, []), found.stdout
    assert found.outputs == {
        "user_pool_arn": pool["Arn"], "user_pool_client_id": client["ClientId"], "user_pool_domain": "company",
        "scope": "openid", "session_timeout": 43200,
    }  # fmt: skip
    wrong = run_role("cognito", {**given, "cognito_domain": "people"}, "check")
    assert wrong.rc != 0 and "it is not a domain of the user pool; use company" in " ".join(wrong.stdout.split())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"cognito_https": False}, "over HTTPS only; set tls_domain_name"),
        ({"cognito_other_issuer": "https://login.example"}, "set either sign_on_issuer or cognito_domain_prefix"),
        ({"cognito_user_pool_arn": "arn:aws:cognito-idp:eu-west-2:123456789012:userpool/a"}, "there is one user pool"),
        pytest.param({"cognito_address": ""}, "by which name browsers come back; set tls_domain_name", marks=pytest.mark.long),
        pytest.param({"cognito_session_timeout": 0}, "AWS takes 1 to 604800 seconds", marks=pytest.mark.long),
        pytest.param({"cognito_domain_prefix": "my-aws-people"}, "AWS keeps the word aws for itself", marks=pytest.mark.long),
    ],
)
def test_what_cannot_work_is_refused(run_role: t.Callable, wrong: dict, reason: str) -> None:
    run = run_role("cognito", {**MADE, "cognito_name": "wrong", **wrong}, "check")
    assert run.rc != 0 and run.writes == [] and reason in " ".join(run.stdout.split()), run.stdout
