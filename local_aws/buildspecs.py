# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buildspecs, as far as the local AWS carries them out: variables, and commands of the four phases.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
"""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

PHASES = ("install", "pre_build", "build", "post_build")


class BadBuildspec(Exception):
    """The build fails in DOWNLOAD_SOURCE with this text."""


class Buildspec(NamedTuple):
    variables: dict[str, str]
    commands: dict[str, list[str]]


def parse(text: str) -> Buildspec:
    """What an inline buildspec says; BadBuildspec for what is none, or more than is done here."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadBuildspec(f"YAML_FILE_ERROR: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or str(document.get("version")) != "0.2":
        raise BadBuildspec("YAML_FILE_ERROR: This build requires a buildspec of version 0.2")
    _only(document, ("version", "env", "phases"), "buildspec")
    environment, phases = document.get("env") or {}, document.get("phases") or {}
    _only(environment, ("variables",), "env")
    _only(phases, PHASES, "phases")
    commands = {}
    for name in PHASES:
        phase = phases.get(name) or {}
        _only(phase, ("commands",), name)
        commands[name] = phase.get("commands") or []
        if not isinstance(commands[name], list) or not all(isinstance(one, str) for one in commands[name]):
            raise BadBuildspec(f"YAML_FILE_ERROR: Expected Commands[0] to be of string type in phase {name}")
    if not any(commands.values()):
        raise BadBuildspec("YAML_FILE_ERROR: At least one phase with at least one command is required in BuildSpec.")
    return Buildspec({key: str(value) for key, value in (environment.get("variables") or {}).items()}, commands)


def _only(found: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise BadBuildspec(f"YAML_FILE_ERROR: {', '.join(unknown)} in {where}: not supported by the local AWS")
