# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided about a user, and what depends on the version."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_users, mlflow_versions
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_users import (
    Change,
    Current,
    Desired,
    plan,
    predict,
)
from hypothesis import given
from hypothesis import strategies as st

PERMISSIONS = st.lists(
    st.tuples(st.sampled_from(["experiment", "registered_model"]), st.text(max_size=5)), max_size=3
).map(tuple)
CURRENT = st.none() | st.builds(Current, st.just("ada"), st.just(7), st.booleans(), PERMISSIONS, st.booleans())
DESIRED = st.builds(
    Desired,
    st.just("ada"),
    st.booleans(),
    st.booleans(),
    st.none() | st.booleans(),
    st.sampled_from(["on_create", "always"]),
)


def actions(changes):
    return [change.action for change in changes]


@pytest.mark.parametrize(
    ("current", "desired", "expected"),
    [
        (None, Desired("ada", True, True), ["create"]),
        (None, Desired("ada", True, True, admin=True), ["create", "set_admin"]),
        (None, Desired("ada", True, True, admin=False), ["create"]),
        (None, Desired("ada", False), []),
        (Current("ada", 7, False), Desired("ada", True), []),
        (Current("ada", 7, False), Desired("ada", True, True), []),
        (Current("ada", 7, False, password_works=True), Desired("ada", True, True, update_password="always"), []),
        (
            Current("ada", 7, False, password_works=False),
            Desired("ada", True, True, update_password="always"),
            ["set_password"],
        ),
        (Current("ada", 7, False), Desired("ada", True, False, update_password="always"), []),
        (Current("ada", 7, False), Desired("ada", True, admin=True), ["set_admin"]),
        (Current("ada", 7, True), Desired("ada", True, admin=False), ["set_admin"]),
        (Current("ada", 7, True), Desired("ada", True), []),
        (Current("ada", 7, False), Desired("ada", False), ["delete"]),
        (
            Current("ada", 7, False, (("experiment", "1"), ("registered_model", "m"))),
            Desired("ada", False),
            ["remove_permission", "remove_permission", "delete"],
        ),
    ],
)
def test_the_plan(current, desired, expected):
    assert actions(plan(current, desired)) == expected


def test_a_user_cannot_be_created_without_a_password():
    with pytest.raises(ValueError, match="user_password: missing, and user 'ada' does not exist"):
        plan(None, Desired("ada", True))


def carry_out(current, changes):
    """What a server would have after the changes."""
    for change in changes:
        if change.action == "create":
            assert current is None
            current = Current("ada", 7, False, password_works=True)
        elif change.action == "delete":
            assert current.permissions == ()
            current = None
        elif change.action == "remove_permission":
            left = list(current.permissions)
            left.remove(change.target)
            current = current._replace(permissions=tuple(left))
        elif change.action == "set_admin":
            current = current._replace(is_admin=change.value)
        else:
            current = current._replace(password_works=True)
    return current


@given(current=CURRENT, desired=DESIRED)
def test_a_plan_reaches_what_is_desired_and_then_has_nothing_left(current, desired):
    if current is None and desired.present and not desired.has_password:
        return
    changes = plan(current, desired)
    after = carry_out(current, changes)
    assert (after is not None) == desired.present
    assert plan(after, desired) == []
    if after is not None and desired.admin is not None:
        assert after.is_admin == desired.admin
    predicted = predict(current, desired, changes)
    assert (predicted is None) == (after is None)
    assert predicted is None or predicted.is_admin == after.is_admin


@given(current=CURRENT, desired=DESIRED, done=st.integers(0, 5))
def test_an_interrupted_plan_is_finished_by_the_next(current, desired, done):
    if current is None and desired.present and not desired.has_password:
        return
    halfway = carry_out(current, plan(current, desired)[:done])
    after = carry_out(halfway, plan(halfway, desired))
    assert plan(after, desired) == []


@given(current=CURRENT, desired=DESIRED)
def test_a_diff_differs_only_when_something_changes(current, desired):
    if current is None and desired.present and not desired.has_password:
        return
    changes = plan(current, desired)
    after = predict(current, desired, changes)
    diff = mlflow_users.diff(current, after, changes)
    assert (diff["before"] != diff["after"]) == bool(changes)


def test_facts():
    assert mlflow_users.facts(None) is None
    assert mlflow_users.facts(Current("ada", 7, True)) == {"username": "ada", "id": 7, "is_admin": True}
    assert Change("set_admin", False).facts() == {"action": "set_admin", "admin": False}
    target = Change("remove_permission", target=("experiment", "3")).facts()
    assert target == {"action": "remove_permission", "resource_type": "experiment", "resource_id": "3"}
    assert Change("create").facts() == {"action": "create"}


@pytest.mark.parametrize(
    ("desired", "reason"),
    [
        (Desired("admin", False), "nobody may delete themselves"),
        (Desired("admin", True, admin=False), "lock itself out"),
        (Desired("admin", True, admin=True), None),
        (Desired("admin", True), None),
        (Desired("ada", False), None),
    ],
)
def test_the_branch_one_sits_on_is_not_sawn_off(desired, reason):
    refusal = mlflow_users.refuse(desired, "admin")
    assert refusal is None if reason is None else reason in refusal


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("2.18.0", (2, 18)),
        ("3.17.2\n", (3, 17)),
        ("3.5.0rc1", (3, 5)),
        ("3.18", (3, 18)),
        ("<html>", None),
        ("", None),
        (None, None),
        ("3", None),
    ],
)
def test_versions(text, parsed):
    assert mlflow_versions.parse(text) == parsed


@given(text=st.text())
def test_any_text_is_a_version_or_not(text):
    assert mlflow_versions.parse(text) is None or text.strip()[0].isdigit()


@pytest.mark.parametrize(
    ("version", "checks"), [("3.5.0", True), ("3.4.9", False), ("2.18.0", False), ("10.0.0", True), ("?", None)]
)
def test_since_when_the_host_is_checked(version, checks):
    assert mlflow_versions.checks_host(version) is checks


@pytest.mark.parametrize(
    ("password", "version", "reason"),
    [
        ("password1234", "2.18.0", "shipped"),
        ("password", "3.17.2", "shipped"),
        ("short", "3.17.2", "at least 12"),
        ("elevenchars", "3.0.0", "at least 12"),
        ("twelve chars", "3.17.2", None),
        ("short", "2.18.0", None),
        ("short", None, None),
    ],
)
def test_password_rules_are_named(password, version, reason):
    problem = mlflow_versions.password_problem(password, version)
    assert (
        problem is None if reason is None else reason in problem and (password not in problem or password == "password")
    )


@pytest.mark.parametrize(
    ("username", "password", "version", "limited"),
    [
        ("ada", "ü", "3.17.2", True),
        ("ädä", "u", "3.17.2", True),
        ("ada", "u", "3.17.2", False),
        ("ada", "ü", "3.15.0", True),
        ("ada", "ü", "3.14.0", False),
        ("ada", "ü", "2.18.0", False),
        ("ä", "ü", None, False),
    ],
)
def test_beyond_ascii_newer_versions_are_limited(username, password, version, limited):
    limit = mlflow_versions.login_limit(username, password, version)
    assert (limit is not None and "only ASCII" in limit) is limited
