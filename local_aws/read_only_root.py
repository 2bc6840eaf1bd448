# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's read-only root file system: its processes may write beneath some folders and nowhere else.

    python read_only_root.py <folder>... -- <command>...

becomes the command under Landlock, which needs neither root nor a namespace and holds for all that the command starts.
https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# The same on x86-64 and ARM64.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
RULESET_VERSION, PATH_BENEATH = 1, 1
NO_NEW_PRIVILEGES = 38
WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
# Removing (4, 5) and making (6 to 12) whatever a directory can hold.
WRITES = WRITE_FILE | sum(1 << bit for bit in range(4, 13))
# What a container engine leaves writable: devices, among them shared memory, and the processes' own files.
ALWAYS_WRITABLE = ("/dev", "/proc")


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return int(result)


@functools.cache
def version() -> int:
    """What this machine's kernel knows of Landlock; 0: nothing."""
    try:
        return _call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(RULESET_VERSION))
    except (OSError, AttributeError):
        return 0


def wrapped(command: Sequence[str], writable: Sequence[Path]) -> list[str]:
    """The command line under which `command` writes beneath `writable` alone."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), *map(str, writable), "--", *command]


def restrict(writable: Sequence[str]) -> None:
    """Take from this process the right to write anywhere else. OSError if the kernel refuses."""
    known = WRITES | (REFER if version() >= 2 else 0) | (TRUNCATE if version() >= 3 else 0)
    handled = ctypes.c_uint64(known)
    ruleset = _call(CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), ctypes.c_uint32(0))
    for folder in writable:
        parent = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        rule = known.to_bytes(8, sys.byteorder) + parent.to_bytes(4, sys.byteorder)
        _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint32(0))
        os.close(parent)
    ctypes.CDLL(None, use_errno=True).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def main(arguments: list[str]) -> None:
    end = arguments.index("--")
    restrict([*ALWAYS_WRITABLE, *arguments[:end]])
    command = arguments[end + 1 :]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
