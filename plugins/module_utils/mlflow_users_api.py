# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users on a server: mlflow/server/auth, the same paths in 2.x and 3.x."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_users
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import API, Client, Login
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_users import Change, Current

_PERMISSION_PATHS = {
    "experiment": ("experiments/permissions/delete", "experiment_id"),
    "registered_model": ("registered-models/permissions/delete", "name"),
}


def from_answer(answer: dict[str, t.Any]) -> Current | None:
    """The user in the answer to users/get; None if there is none in it, as from a server that is not MLflow."""
    user = answer.get("user")
    if (
        not isinstance(user, dict)
        or not isinstance(user.get("username"), str)
        or not isinstance(user.get("is_admin"), bool)
    ):
        return None
    permissions = [("experiment", str(one["experiment_id"])) for one in user.get("experiment_permissions") or []]
    permissions += [("registered_model", str(one["name"])) for one in user.get("registered_model_permissions") or []]
    return Current(user["username"], user.get("id"), user["is_admin"], tuple(permissions))


def read(client: Client, username: str, login: Login | None = None) -> Current | None:
    """The user, None if there is none of that name."""
    try:
        answer = client.call("GET", "users/get", query={"username": username}, login=login)
    except MlflowError as error:
        if error.status == 404 and error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    user = from_answer(answer)
    if user is None:
        raise MlflowError(
            200,
            "",
            "the answer holds no user; check that tracking_uri is MLflow",
            "GET",
            client.base + API + "users/get",
            "json",
        )
    return user


def who_am_i(client: Client) -> Current:
    """The user the client logs in as. MlflowError names what is wrong: password, no basic authentication, not
    MLflow."""
    url = client.base + API + "users/get"
    open_door = client.send("GET", API + "users/get", query={"username": client.login.username})
    if open_door.status == 200:
        message = (
            "the server answers without a password; start MLflow with --app-name basic-auth, or check tracking_uri"
        )
        raise MlflowError(200, "", message, "GET", url, "text")
    if open_door.status == 404:
        raise MlflowError(404, "", _who_is_this(client), "GET", url, "html")
    user = read(client, client.login.username)
    if user is None:
        raise MlflowError(
            404, "RESOURCE_DOES_NOT_EXIST", "the user has just been deleted; log in as another", "GET", url, "json"
        )
    return user


def _who_is_this(client: Client) -> str:
    version = client.send("GET", "/version")
    if version.status == 200 and len(version.text) < 40 and version.text[:1].isdigit():
        return f"MLflow {version.text.strip()} runs without basic authentication; start it with --app-name basic-auth"
    return (
        "there is no user API here, so this is not MLflow with basic authentication; check host, port and prefix of"
        " tracking_uri"
    )


def version(client: Client) -> str | None:
    """The server's version; None if it does not say."""
    answer = client.send("GET", "/version", login=client.login)
    return answer.text.strip() if answer.status == 200 else None


def password_works(client: Client, username: str, password: str) -> bool:
    """Whether the server lets this user in with this password; nothing is changed."""
    client.keep_secret(username, password)
    answer = client.send("GET", API + "users/get", query={"username": username}, login=Login(username, password))
    if answer.status in (200, 401):
        return answer.status == 200
    raise client.error(answer, "GET", API + "users/get")


def apply(client: Client, username: str, password: str | None, change: Change) -> None:
    """Make one change of a plan."""
    own = username == client.login.username
    if change.action == mlflow_users.CREATE:
        client.call("POST", "users/create", body={"username": username, "password": password})
    elif change.action == mlflow_users.SET_PASSWORD:
        body = {"username": username, "password": password}
        if own:
            # MLflow 3 wants it, admins included; 2.x takes no notice.
            body["current_password"] = client.login.password
        client.call("PATCH", "users/update-password", body=body, repeatable=not own)
        if own:
            client.login = Login(username, str(password))
    elif change.action == mlflow_users.SET_ADMIN:
        client.call(
            "PATCH", "users/update-admin", body={"username": username, "is_admin": change.value}, repeatable=True
        )
    elif change.target:
        path, key = _PERMISSION_PATHS[change.target[0]]
        _gone(client, path, {"username": username, key: change.target[1]})
    else:
        _gone(client, "users/delete", {"username": username})


def _gone(client: Client, path: str, body: dict[str, t.Any]) -> None:
    try:
        client.call("DELETE", path, body=body, repeatable=True)
    except MlflowError as error:
        # The first try was done after all, or someone else was faster: it is gone either way.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
