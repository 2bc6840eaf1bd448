# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images: `…/python:3.X-slim` becomes a fresh virtual environment; of others those that were built here (image_store).

The environment has `python`, `pip` (which is uv, so that installing costs seconds) and the module that gives the
container its own address (ecs_container_network). Nothing is downloaded here: the interpreter is one of this machine.
"""

from __future__ import annotations

import importlib.resources
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uv

from .bytecode import KEEP_SCRIPT

PYTHON_IMAGE = re.compile(r"(?:[a-z0-9][a-z0-9.:_-]*/)*python:(3\.\d+)-slim(?:-(?:trixie|bookworm|bullseye))?")
FALLBACK_MINOR = "3.11"
# Looked up once, here: the look-up uses sysconfig, whose first use by several threads at once fails.
UV_PATH = uv.find_uv_bin()
PROBE_SECONDS = 20
BUILD_SECONDS = 120
# What uv needs of this machine's settings to reach its package index; given to `pip` alone, not to the container.
INDEX_SETTINGS = re.compile(r"(UV_.*|SSL_CERT_FILE|SSL_CERT_DIR|(HTTP|HTTPS|ALL|NO)_PROXY)", re.IGNORECASE)
# pip's options that uv does not know, and those that would throw away its cache: value-less, then with a value.
IGNORED_FLAGS = ("--no-cache-dir", "--no-input", "--disable-pip-version-check", "--no-warn-script-location")
IGNORED_OPTIONS = ("--root-user-action", "--progress-bar", "--timeout", "--default-timeout", "--retries")


class ImageError(Exception):
    """The image cannot be pulled; the text is the task's stopped reason."""


@dataclass(frozen=True)
class Environment:
    """A pulled image: its folder, and a remark to log if it is not exactly what was asked for."""

    folder: Path
    remark: str | None = None
    # What an image that was built here says of itself, and where it keeps the files that it names by their paths.
    variables: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    files: Path | None = None

    @property
    def bin(self) -> Path:
        return self.folder / "bin"


def python_minor(reference: str) -> str | None:
    """"3.11" for an image reference like public.ecr.aws/docker/library/python:3.11-slim; None for any other."""
    match = PYTHON_IMAGE.fullmatch(reference)
    return match.group(1) if match else None


class Interpreters:
    """The Python interpreters of this machine, by minor version; each is looked for once."""

    def __init__(self) -> None:
        self._found: dict[str, str | None] = {}
        self._lock = threading.Lock()

    def find(self, minor: str) -> str | None:
        """Path of an interpreter of exactly this minor version that runs, or None."""
        with self._lock:
            if minor not in self._found:
                self._found[minor] = next((path for path in self._candidates(minor) if _is_python(path, minor)), None)
            return self._found[minor]

    def available(self) -> list[str]:
        """The minor versions that can be had."""
        return [minor for minor in (f"3.{number}" for number in range(9, 16)) if self.find(minor)]

    @staticmethod
    def _candidates(minor: str) -> list[str]:
        own = getattr(sys, "_base_executable", None) or sys.executable
        candidates = [own] if f"{sys.version_info[0]}.{sys.version_info[1]}" == minor else []
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        candidates += [os.path.join(folder, f"python{minor}") for folder in folders if folder]
        home = Path.home()
        candidates += [str(path) for path in sorted(home.glob(f".pyenv/versions/{minor}.*/bin/python{minor}"))]
        candidates += [
            str(path) for path in sorted(home.glob(f".local/share/uv/python/cpython-{minor}.*/bin/python{minor}"))
        ]
        return [path for path in dict.fromkeys(candidates) if os.access(path, os.X_OK)]


def _is_python(path: str, minor: str) -> bool:
    program = "import sys, venv, ssl; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [path, "-I", "-c", program], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and done.stdout.strip() == minor


_interpreters = Interpreters()


def choose(reference: str, interpreters: Interpreters = _interpreters) -> tuple[str, str | None]:
    """Interpreter for an image, and a remark if it is another minor version. ImageError if there is none."""
    minor = python_minor(reference)
    if minor is None:
        raise ImageError(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
            f"{reference}: {reference}: not found (the local AWS has the images python:3.X-slim only)"
        )
    path = interpreters.find(minor)
    if path:
        return path, None
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    own_path = interpreters.find(own)
    if minor == FALLBACK_MINOR and own_path:
        return own_path, f"image {reference}: no Python {minor} on this machine, running it with Python {own}"
    raise ImageError(
        f"CannotPullContainerError: pull image manifest has been retried 1 time(s): {reference} is not available on "
        f"the local AWS: no Python {minor} on this machine; available: {', '.join(interpreters.available())}"
    )


def pull(reference: str, folder: Path) -> Environment:
    """Build the environment of an image at `folder`, which must not exist. ImageError if it cannot be."""
    interpreter, remark = choose(reference)
    command = [
        UV_PATH, "venv", "--quiet", "--no-project", "--no-config", "--offline", "--python", interpreter,
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        raise ImageError(f"CannotPullContainerError: {reference}: {' '.join(done.stderr.split())}")
    _add_network(folder)
    _add_pip(folder)
    return Environment(folder, remark)


def _site_packages(folder: Path) -> Path:
    return next(folder.glob("lib/python3.*/site-packages"))


def _add_network(folder: Path) -> None:
    source = importlib.resources.files(__package__).joinpath("ecs_container_network.py").read_text(encoding="utf-8")
    packages = _site_packages(folder)
    (packages / "local_aws_network.py").write_text(source, encoding="utf-8")
    (packages / "local_aws_network.pth").write_text(
        "import local_aws_network; local_aws_network.install_from_environment()\n", encoding="utf-8"
    )


def _add_pip(folder: Path) -> None:
    script = folder / "bin" / "pip"
    script.write_text(pip_script(UV_PATH, folder, dict(os.environ)), encoding="utf-8")
    # An index address may hold a password.
    script.chmod(0o700)
    for name in ("pip3", f"pip{_site_packages(folder).parent.name.removeprefix('python')}"):
        (folder / "bin" / name).symlink_to("pip")
    package = _site_packages(folder) / "pip"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(
        f"import os, sys\nos.execv({str(script)!r}, [{str(script)!r}, *sys.argv[1:]])\n", encoding="utf-8"
    )


def package_cache(environment: Mapping[str, str]) -> Path:
    """Where this machine keeps the packages that containers link from."""
    default = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
    return Path(environment.get("UV_CACHE_DIR") or default)


def pip_script(uv_path: str, folder: Path, environment: dict[str, str]) -> str:
    """A shell script that answers as `pip` by calling `uv pip` on the environment at `folder`."""
    settings = {name: value for name, value in environment.items() if INDEX_SETTINGS.fullmatch(name)}
    if "PIP_INDEX_URL" in environment:
        settings.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    user_config = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    if user_config.is_file():
        settings.setdefault("UV_CONFIG_FILE", str(user_config))
    # As pip does it: what this machine trusts.
    settings.setdefault("UV_SYSTEM_CERTS", "true")
    settings["UV_CACHE_DIR"] = str(package_cache(environment))
    settings |= {"VIRTUAL_ENV": str(folder), "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(settings.items()))
    return f"""#!/bin/sh
# pip of a container of the local AWS: uv, which links packages from this machine's cache.
{exports}
case $1 in --version|-V) exec {shlex.quote(uv_path)} --version ;; esac
command=$1 target=$(echo {shlex.quote(str(folder))}/lib/python3.*/site-packages) count=$#
while [ "$count" -gt 0 ]; do
    argument=$1; shift; count=$((count - 1))
    case $argument in
        {"|".join(IGNORED_FLAGS)}) ;;
        {"|".join(f"{option}=*" for option in IGNORED_OPTIONS)}) ;;
        {"|".join(IGNORED_OPTIONS)}) [ "$count" -gt 0 ] && {{ shift; count=$((count - 1)); }} ;;
        --target|-t) target=$1; set -- "$@" "$argument" ;;
        --target=*) target=${{argument#*=}}; set -- "$@" "$argument" ;;
        *) set -- "$@" "$argument" ;;
    esac
done
[ "$command" = install ] || exec {shlex.quote(uv_path)} pip "$@"
{shlex.quote(uv_path)} pip "$@" || exit
{KEEP_SCRIPT.lstrip()}
"""


class Remover:
    """Deletes folders in the background: an environment of 600 MB takes seconds that no loop has."""

    def __init__(self) -> None:
        self._folders: queue.Queue[Path] = queue.Queue()
        self._thread: threading.Thread | None = None

    def remove(self, folder: Path) -> None:
        """Delete `folder` soon."""
        self._folders.put(folder)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="image-remover", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            shutil.rmtree(self._folders.get(), ignore_errors=True)
            self._folders.task_done()

    def join(self) -> None:
        """Wait until all is deleted."""
        self._folders.join()
