# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dockerfiles, as far as an image of the local AWS can be made of one: a slim Python image, files, packages of `pip`.

https://docs.docker.com/reference/dockerfile/
One stage. FROM, ARG, COPY of files, RUN of one `pip install`, ENV, LABEL, USER, VOLUME, EXPOSE, ENTRYPOINT and CMD as JSON.
Everything else is refused: nothing here runs in a root file system of its own.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field

PAIRS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=")
REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
# What would need a shell.
SHELL = re.compile(r"[;&|<>$`*?()]")
# COPY puts files beneath one of these, so that no program of the image is hidden.
PLACES = ("/app/", "/opt/", "/srv/")


class Unsupported(Exception):
    """What this Dockerfile asks for cannot be done here; the text names the line."""


@dataclass(frozen=True)
class Copy:
    sources: tuple[str, ...]
    destination: str


@dataclass(frozen=True)
class Run:
    command: tuple[str, ...]


@dataclass
class Recipe:
    base: str = ""
    steps: list[Copy | Run] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def parse(text: str, arguments: dict[str, str]) -> Recipe:
    """What a Dockerfile makes with these build arguments. Unsupported names the first line that cannot be done."""
    recipe, known, heading = Recipe(), dict[str, str](), True
    for number, line in _lines(text):
        word, _unused, rest = line.partition(" ")
        try:
            heading = _apply(recipe, word.upper(), rest.strip(), known, arguments, heading)
        except Unsupported as error:
            raise Unsupported(f"Dockerfile:{number}: {word.upper()}: {error}") from None
    if not recipe.base:
        raise Unsupported("Dockerfile: no FROM")
    return recipe


def _lines(text: str) -> list[tuple[int, str]]:
    found, waiting, first = [], "", 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#") or not stripped:
            continue
        first = first or number
        if stripped.endswith("\\"):
            waiting += stripped[:-1].strip() + " "
            continue
        found.append((first, waiting + stripped))
        waiting, first = "", 0
    return found


def _apply(
    recipe: Recipe, word: str, rest: str, known: dict[str, str], arguments: dict[str, str], heading: bool
) -> bool:
    """Do one instruction; answers whether FROM is still to come."""
    if word == "ARG":
        name, given, default = rest.partition("=")
        if name in arguments or given or name not in known:
            known[name] = arguments.get(name, default)
        return heading
    if word == "FROM":
        if not heading:
            raise Unsupported("more than one stage")
        recipe.base = _filled(rest, known)
        if " " in recipe.base or not recipe.base:
            raise Unsupported(f"'{recipe.base}': name one image, without options and names of stages")
        known.clear()
        return False
    if heading:
        raise Unsupported("comes before FROM")
    if word == "RUN":
        recipe.steps.append(_run(rest))
    elif word == "COPY":
        recipe.steps.append(_copy(_filled(rest, known)))
    elif word in ("ENV", "LABEL"):
        (recipe.environment if word == "ENV" else recipe.labels).update(_pairs(_filled(rest, known)))
    elif word == "USER":
        recipe.user = rest
    elif word == "VOLUME":
        recipe.volumes += shlex.split(rest)
    elif word == "ENTRYPOINT":
        recipe.entrypoint, recipe.command = _listed(rest), []
    elif word == "CMD":
        recipe.command = _listed(rest)
    elif word != "EXPOSE":
        raise Unsupported("not supported by the local AWS")
    return False


def _filled(text: str, known: dict[str, str]) -> str:
    return REFERENCE.sub(lambda match: known.get(match[1] or match[2], ""), text)


def _run(text: str) -> Run:
    words = shlex.split(text) if not SHELL.search(text) else []
    for beginning in (["pip", "install"], ["python", "-m", "pip", "install"]):
        if words[: len(beginning)] == beginning:
            return Run(("pip", "install", *words[len(beginning) :]))
    raise Unsupported(f"'{text[:60]}': the local AWS runs one 'pip install ...' a line, without a shell, and nothing else")


def _copy(text: str) -> Copy:
    words = shlex.split(text)
    if len(words) < 2 or words[0].startswith("--"):
        raise Unsupported(f"'{text}': name files and a place, without options")
    *sources, destination = words
    if any(source.startswith("/") or ".." in source.split("/") for source in sources) or ".." in destination.split("/"):
        raise Unsupported(f"'{text}': a path leads out of the folder")
    if not destination.startswith(PLACES):
        raise Unsupported(f"'{destination}': the local AWS keeps files beneath {', '.join(PLACES)} only")
    return Copy(tuple(sources), destination)


def _pairs(text: str) -> dict[str, str]:
    words = shlex.split(text)
    if not words or not all(PAIRS.match(word) for word in words):
        raise Unsupported(f"'{text}': write name=value")
    return dict(word.split("=", 1) for word in words)


def _listed(text: str) -> list[str]:
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Unsupported(f"'{text}': write a JSON list, for there is no shell")
    return words
