# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What depends on the version of MLflow. Everything here is pure."""

from __future__ import annotations

import re

# mlflow/server/security.py exists from here on: Host and Origin are checked.
HOST_CHECK = (3, 5)
# Passwords shorter than 12 characters are refused by every 3.x.
PASSWORD_RULE = (3, 0)
SHORTEST_PASSWORD = 12
# FastAPI routes read the Authorization header as ASCII (_authenticate_fastapi_request), and artifacts are one of them
# from here on (mlflow/server/artifact_router.py).
ASCII_LOGIN = (3, 15)
# Roles, and grants in the place of permissions of single resources (mlflow/server/auth/routes.py).
GRANTS = (3, 13)
# GET users/list (routes.py).
LISTS_USERS = (3, 10)
# mlflow/server/auth/permissions.py.
HAS_USE, HAS_DENY = (3, 9), (3, 17)
# DELETE experiments/delete-experiment-tag (mlflow/server/handlers.py).
DELETES_EXPERIMENT_TAGS = (3, 2)
# What basic_auth.ini gave the user "admin" before 3.17.
PUBLISHED_PASSWORDS = ("password", "password1234")

_VERSION = re.compile(r"^(\d{1,4})\.(\d{1,4})(\.\d{1,4})?([A-Za-z0-9.+-]{0,30})$")


def parse(text: str | None) -> tuple[int, int] | None:
    """(major, minor) of a version as GET /version answers it, None if that is no version."""
    found = _VERSION.match((text or "").strip())
    return (int(found.group(1)), int(found.group(2))) if found else None


def checks_host(version: str | None) -> bool | None:
    """Whether servers of this version check the Host header; None if the version is not known."""
    parsed = parse(version)
    return None if parsed is None else parsed >= HOST_CHECK


def permissions(version: str) -> tuple[str, ...]:
    """What a server of this version takes as the permission of a user on a resource, weakest first."""
    parsed = parse(version) or GRANTS
    names = ["NO_PERMISSIONS"] if parsed < GRANTS else ["DENY"] if parsed >= HAS_DENY else []
    return tuple([*names, "READ", *(["USE"] if parsed >= HAS_USE else []), "EDIT", "MANAGE"])


def password_problem(password: str, version: str | None) -> str | None:
    """Why a server of this version would refuse the password or should never have it; None if there is no reason."""
    if password in PUBLISHED_PASSWORDS:
        return "it is one of the passwords that MLflow was shipped with, which everybody knows; choose another"
    parsed = parse(version)
    if parsed is not None and parsed >= PASSWORD_RULE and len(password) < SHORTEST_PASSWORD:
        return (
            f"it has {len(password)} characters and MLflow {version} wants at least {SHORTEST_PASSWORD}; choose a"
            " longer one"
        )
    return None


def login_limit(username: str, password: str, version: str | None) -> str | None:
    """What a user of that name and password cannot do on a server of this version, for a warning; None if nothing."""
    parsed = parse(version)
    if parsed is None or parsed < ASCII_LOGIN or (username.isascii() and password.isascii()):
        return None
    return (
        f"MLflow {version} takes only ASCII names and passwords where artifacts are uploaded and downloaded, others get"
        " 401 there"
    )
