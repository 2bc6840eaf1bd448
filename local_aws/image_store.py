# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that were built here: a folder each, with the environment, the files beside it, and the configuration.

A folder never moves, because programs of a virtual environment know where they are. Its configuration's digest, by which the
manifest in ECR names it, is a link to it. https://github.com/opencontainers/image-spec/blob/main/config.md
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import images
from .dockerfiles import Copy, Recipe

PIP_SECONDS = 1800
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class BuildError(Exception):
    """The image cannot be built; the text is the last line of the build."""


def folder_of(state: Path) -> Path:
    """Where an instance with this folder keeps its images."""
    return state / "images"


def build(store: Path, recipe: Recipe, context: Path, architecture: str, say: Callable[[str], None]) -> str:
    """Build an image and answer its ID, the digest of its configuration. BuildError says why not."""
    folder = store / uuid.uuid4().hex
    folder.mkdir(mode=0o700, parents=True)
    try:
        return _build(store, folder, recipe, context, architecture, say)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _build(
    store: Path, folder: Path, recipe: Recipe, context: Path, architecture: str, say: Callable[[str], None]
) -> str:
    environment, files = folder / "environment", folder / "files"
    files.mkdir()
    try:
        pulled = images.pull(recipe.base, environment)
    except images.ImageError as error:
        raise BuildError(str(error)) from None
    if pulled.remark:
        say(f"[local AWS] {pulled.remark}")
    for step in recipe.steps:
        if isinstance(step, Copy):
            say(f"COPY {' '.join(step.sources)} {step.destination}")
            _copy(step, context, files)
        else:
            say(f"RUN {' '.join(step.command)}")
            _pip([inside(files, word) for word in step.command], environment, context)
    layer, size = _digest(environment, files)
    config = json.dumps({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": [f"{name}={value}" for name, value in recipe.environment.items()],
            "Entrypoint": recipe.entrypoint,
            "Cmd": recipe.command,
            "User": recipe.user,
            "Volumes": {one: {} for one in recipe.volumes},
            "Labels": recipe.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "local_aws": {"size": size, "remark": pulled.remark},
    })  # fmt: skip
    (folder / "config.json").write_text(config, encoding="utf-8")
    name = hashlib.sha256(config.encode()).hexdigest()
    os.symlink(folder.name, store / name)
    return f"sha256:{name}"


def _copy(step: Copy, context: Path, files: Path) -> None:
    destination = files / step.destination.lstrip("/")
    several = step.destination.endswith("/") or len(step.sources) > 1
    (destination if several else destination.parent).mkdir(parents=True, exist_ok=True)
    for source in step.sources:
        if not (context / source).is_file():
            raise BuildError(f'COPY failed: "/{source}": not found (the local AWS copies files only)')
        shutil.copyfile(context / source, destination / Path(source).name if several else destination)


def _pip(command: list[str], environment: Path, context: Path) -> None:
    """Install into the environment as pip does it, compiled."""
    variables = {"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "HOME": str(context), "UV_COMPILE_BYTECODE": "1"}
    done = subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]], env=variables, cwd=context, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", timeout=PIP_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BuildError(f"{done.stdout.strip()}\nprocess \"/bin/sh -c {' '.join(command)}\" did not complete successfully: "
                         f"exit code: {done.returncode}")  # fmt: skip


def inside(files: Path, word: str) -> str:
    """Where the file of an image is that a word names by its path in the image; any other word as it is."""
    place = files / word.lstrip("/")
    return str(place) if word.startswith("/") and ".." not in word.split("/") and place.is_file() else word


def _digest(*folders: Path) -> tuple[str, int]:
    """The digest of all that is in these folders, and its size in bytes."""
    total, whole = 0, hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            whole.update(str(path.relative_to(folder)).encode())
            if path.is_symlink():
                whole.update(os.readlink(path).encode())
            elif path.is_file():
                whole.update(path.read_bytes())
                total += path.stat().st_size
    return f"sha256:{whole.hexdigest()}", total


def config(store: Path, image_id: str) -> dict[str, Any] | None:
    """The configuration of an image by its ID, None if it was not built here."""
    path = store / image_id.removeprefix("sha256:") / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if image_id.startswith("sha256:") and path.is_file() else None


def manifest(store: Path, image_id: str) -> str:
    """The manifest under which an image is kept in a registry. KeyError if it was not built here."""
    found = config(store, image_id)
    if found is None:
        raise KeyError(image_id)
    size = (store / image_id.removeprefix("sha256:") / "config.json").stat().st_size
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": size, "digest": image_id},
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
            "size": found["local_aws"]["size"],
            "digest": found["rootfs"]["diff_ids"][0],
        }],
    })  # fmt: skip


def environment(store: Path, image_id: str) -> images.Environment:
    """The environment of an image in which tasks run. ImageError if it is gone."""
    found = config(store, image_id)
    if found is None:
        raise images.ImageError(f"CannotPullContainerError: failed to copy: {image_id}: not found")
    folder = (store / image_id.removeprefix("sha256:")).resolve()
    settings = found["config"]
    return images.Environment(
        folder / "environment",
        found["local_aws"]["remark"],
        variables=dict(one.split("=", 1) for one in settings["Env"]),
        entrypoint=tuple(settings["Entrypoint"]),
        command=tuple(settings["Cmd"]),
        files=folder / "files",
    )
