# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`docker` and `aws` as the shell of a build finds them: as much of both as making an image for ECR takes.

    python -m local_aws.container_cli docker build --tag <image> .
    python -m local_aws.container_cli aws ecr get-login-password

Everything else is refused. A build keeps what it has pulled, built and logged in to in the folder LOCAL_AWS_DOCKER; images
are kept in the folder LOCAL_AWS_IMAGES. Without privileged mode there is no daemon, as on AWS.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import boto3
import botocore.exceptions

from . import dockerfiles, image_store, images
from .registry import REFERENCE

PLATFORMS = {"linux/amd64": "amd64", "linux/arm64": "arm64"}
DIGEST_FORMAT = "{{index .RepoDigests 0}}"


class Refused(Exception):
    """What the program ends with, after its name."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(f"{self.prog}: {message} (the local AWS knows a part of it only)")


class State:
    """One build's Docker: JSON files in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> dict[str, str]:
        path = self._folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def keep(self, name: str, key: str, value: str) -> None:
        known = {**self.read(name), key: value}
        (self._folder / f"{name}.json").write_text(json.dumps(known), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    program, *rest = arguments
    try:
        (docker if program == "docker" else aws)(rest)
    except (Refused, dockerfiles.Unsupported, image_store.BuildError) as error:
        print(f"{program}: {error}", file=sys.stderr, flush=True)
        return 1
    except botocore.exceptions.ClientError as error:
        print(f"{program}: {error}", file=sys.stderr, flush=True)
        return 254
    return 0


def aws(arguments: list[str]) -> None:
    parser = Parser("aws")
    parser.add_argument("service", choices=["ecr"])
    parser.add_argument("command", choices=["get-login-password"])
    parser.add_argument("--region")
    print(login_password(parser.parse_args(arguments).region))


def login_password(region: str | None) -> str:
    given = boto3.client("ecr", region_name=region).get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(given).decode().partition(":")[2]


def docker(arguments: list[str]) -> None:
    if "LOCAL_AWS_DOCKER" not in os.environ:
        raise Refused("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
    parser = Parser("docker")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    login = commands.add_parser("login")
    login.add_argument("--username", "-u", choices=["AWS"], required=True)
    login.add_argument("--password-stdin", action="store_true", required=True)
    login.add_argument("registry")
    pull = commands.add_parser("pull")
    pull.add_argument("--quiet", "-q", action="store_true")
    pull.add_argument("--platform", choices=PLATFORMS, default="linux/amd64")
    pull.add_argument("image")
    inspect = commands.add_parser("image").add_subparsers(dest="what", required=True).add_parser("inspect")
    inspect.add_argument("--format", "-f", choices=[DIGEST_FORMAT], required=True)
    inspect.add_argument("image")
    build = commands.add_parser("build")
    build.add_argument("--platform", choices=PLATFORMS, default="linux/amd64")
    build.add_argument("--build-arg", action="append", default=[])
    build.add_argument("--provenance", choices=["false"])
    build.add_argument("--tag", "-t", required=True)
    build.add_argument("context")
    push = commands.add_parser("push")
    push.add_argument("--quiet", "-q", action="store_true")
    push.add_argument("image")
    given = parser.parse_args(arguments)
    DOCKER[given.command](given, State(Path(os.environ["LOCAL_AWS_DOCKER"])))


def _login(given: Any, state: State) -> None:
    named = REFERENCE.fullmatch(f"{given.registry}/any")
    if named is None or sys.stdin.read().strip() != login_password(named["region"]):
        raise Refused(f"Error response from daemon: login attempt to https://{given.registry}/v2/ failed with status: 400 Bad Request")
    state.keep("logins", given.registry, "AWS")
    print("Login Succeeded")


def _pull(given: Any, state: State) -> None:
    """A base image is the interpreter of this machine that stands for it; its digest is that program's."""
    try:
        interpreter, remark = images.choose(given.image)
    except images.ImageError as error:
        raise Refused(f"Error response from daemon: {str(error).rpartition('failed to resolve ref ')[2]}") from None
    digest = hashlib.sha256(Path(interpreter).resolve().read_bytes()).hexdigest()
    resolved = f"{given.image.rpartition(':')[0]}@sha256:{digest}"
    state.keep("pulled", given.image, resolved)
    print(f"{remark or ''}\nStatus: Downloaded newer image for {given.image}".strip())


def _inspect(given: Any, state: State) -> None:
    if given.image not in state.read("pulled"):
        raise Refused(f"Error response from daemon: No such image: {given.image}")
    print(state.read("pulled")[given.image])


def _build(given: Any, state: State) -> None:
    context = Path(given.context).resolve()
    if not (context / "Dockerfile").is_file():
        raise Refused("failed to read dockerfile: open Dockerfile: no such file or directory")
    arguments = dict(one.split("=", 1) for one in given.build_arg if "=" in one)
    recipe = dockerfiles.parse((context / "Dockerfile").read_text(encoding="utf-8"), arguments)
    recipe.base = {resolved: image for image, resolved in state.read("pulled").items()}.get(recipe.base, recipe.base)

    def say(line: str) -> None:
        print(line, flush=True)

    store = Path(os.environ["LOCAL_AWS_IMAGES"])
    image_id = image_store.build(store, recipe, context, PLATFORMS[given.platform], say)
    state.keep("built", given.tag, image_id)
    print(f"writing image {image_id} done\nnaming to {given.tag} done")


def _push(given: Any, state: State) -> None:
    image_id, named = state.read("built").get(given.image), REFERENCE.fullmatch(given.image)
    if image_id is None:
        raise Refused(f"An image does not exist locally with the tag: {given.image}")
    if named is None or named["digest"]:
        raise Refused(f"{given.image}: the local AWS pushes to its own ECR only")
    if given.image.split("/", 1)[0] not in state.read("logins"):
        raise Refused("no basic auth credentials")
    tag = named["tag"] or "latest"
    answer = boto3.client("ecr", region_name=named["region"]).put_image(
        repositoryName=named["repository"], imageTag=tag,
        imageManifest=image_store.manifest(Path(os.environ["LOCAL_AWS_IMAGES"]), image_id),
        imageManifestMediaType=image_store.MANIFEST,
    )  # fmt: skip
    print(f"{tag}: digest: {answer['image']['imageId']['imageDigest']}")


DOCKER = {"login": _login, "pull": _pull, "image": _inspect, "build": _build, "push": _push}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
