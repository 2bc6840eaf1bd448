# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: python -m local_aws up | down | status | wait."""

from __future__ import annotations

import argparse
import json
import sys

from . import daemon
from .settings import Settings


def show(report: dict[str, list[dict]]) -> None:
    """One line for each thing."""
    for kind, things in report.items():
        print(f"{kind}: {len(things) or 'none'}")
        for thing in things:
            print("  " + "  ".join(f"{value}" for value in thing.values() if value is not None))


def status(settings: Settings, as_json: bool) -> int:
    found = daemon.report(settings)
    if found is None:
        print("{}" if as_json else "The local AWS is down")
        return 3
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print(f"The local AWS is up at {settings.endpoint_url}, its folder is {settings.folder}")
        show(found)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local_aws", description="An AWS on this machine, with real servers behind it."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start it in the background")
    commands.add_parser("down", help="end it and everything it started, and remove its folder")
    told = commands.add_parser("status", help="tell what runs; exit code 3 if it is down")
    told.add_argument("--json", action="store_true")
    waited = commands.add_parser("wait", help="wait until it answers")
    waited.add_argument("--seconds", type=float, default=daemon.READY_SECONDS)
    commands.add_parser("serve", help="run it in the foreground")
    arguments = parser.parse_args()
    try:
        settings = Settings.from_environment()
        if arguments.command == "up":
            print(daemon.up(settings))
        elif arguments.command == "down":
            print(daemon.down(settings))
        elif arguments.command == "wait":
            daemon.wait(settings, arguments.seconds)
        elif arguments.command == "serve":
            daemon.serve(settings)
        else:
            return status(settings, arguments.json)
    except (daemon.DaemonError, ValueError, OSError) as error:
        print(f"local_aws: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
