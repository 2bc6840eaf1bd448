# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Python compiled for one container, kept for the next that has the same packages.

An image of a registry arrives compiled; to compile here all that `pip` installs would take longer than to start the server.
So Python keeps what it imports under a prefix of the container's, in which the standard library and the folder of the
packages are links into the cache that the packages themselves come from. Python sees by time and size whether what is
there is of the source it has. https://docs.python.org/3/using/cmdline.html#envvar-PYTHONPYCACHEPREFIX
"""

from __future__ import annotations

from pathlib import Path

KEPT = "local-aws-bytecode"

# Continues the script that answers as pip: `$target` is the folder of the packages.
KEEP_SCRIPT = f"""
if [ -n "$PYTHONPYCACHEPREFIX" ]; then
    target=$(cd "$target" && pwd)
    kept=$UV_CACHE_DIR/{KEPT}/$(cd "$target" && ls -d ./*.dist-info | sha256sum | cut -c 1-64)
    rm -rf "$PYTHONPYCACHEPREFIX$target"
    mkdir -p "$kept" "$PYTHONPYCACHEPREFIX${{target%/*}}"
    ln -s "$kept" "$PYTHONPYCACHEPREFIX$target"
fi"""


def standard_library(image: Path) -> Path | None:
    """Where the interpreter of a virtual environment has its standard library, None if not where it is expected."""
    settings = dict(
        line.split(" = ", 1) for line in (image / "pyvenv.cfg").read_text(encoding="utf-8").splitlines() if " = " in line
    )
    minor = next(image.glob("lib/python3.*")).name
    library = Path(settings["home"]).parent / "lib" / minor
    return library if (library / "os.py").is_file() else None


def prepare(image: Path, prefix: Path, cache: Path) -> dict[str, str]:
    """Have the Python of the environment at `image` keep what it compiles; the variables that tell it so, if it can."""
    library = standard_library(image)
    if library is None:
        return {}
    kept, place = cache / KEPT / library.relative_to("/"), prefix / library.relative_to("/")
    kept.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(kept)
    return {"PYTHONPYCACHEPREFIX": str(prefix)}
