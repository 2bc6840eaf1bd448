# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands for the daily jobs, as they are typed in the checkout that this deployment was made from."""

from __future__ import annotations

import shlex
import typing as t


class Job(t.NamedTuple):
    name: str
    target: str
    # Options of ansible-playbook.
    options: str = ""


JOBS = (
    Job("See how it is", "status"),
    Job("Find out what ails it", "doctor"),
    Job("Prove that it works", "verify"),
    Job("Read the servers' log of the last two hours", "logs", "-e since=2h"),
    Job("Apply the users and grants of the inventory", "users"),
    Job("Run four tasks", "scale", "-e scale_desired_count=4"),
    Job("Say what the inventory's version of MLflow would change", "upgrade", "--check"),
    Job("Back the database up now", "backup"),
    Job("List what can be restored", "backup", "-e backup_list=true"),
    Job("Replace the passwords", "rotate"),
    Job("Say what garbage there is", "gc"),
    Job("Apply the inventory", "deploy"),
    Job("Write this report again", "report"),
)
# make says "deploy" where the playbook is the whole site.
PLAYBOOKS = {"deploy": "site"}
PAGES = (
    ("Architecture", "docs/architecture.md"),
    ("Diagnosing", "docs/diagnosing.md"),
    ("Backup and restore", "docs/backup-and-restore.md"),
    ("Upgrading", "docs/upgrading.md"),
    ("Rotating secrets", "docs/rotating-secrets.md"),
    ("Users and permissions", "docs/users-and-permissions.md"),
    ("Garbage collection", "docs/garbage-collection.md"),
    ("Cost", "docs/cost.md"),
    ("This report", "docs/report.md"),
)


def jobs(name: str, inventory: str, environment: str, limit: bool) -> list[dict[str, str]]:
    """`inventory`: its path; `environment`: what make calls it, empty if make cannot; `limit`: whether it has other deployments too."""
    narrowed = f"--limit {shlex.quote(name)}" if limit else ""
    # No playbook shows a password.
    password = f"make password ENV={shlex.quote(environment)} NAME={shlex.quote(name)}"
    shown = [{"name": "Show the admin's password", "make": password, "playbook": ""}] if environment else []
    return shown + [
        {
            "name": job.name,
            "make": _make(job, environment, narrowed) if environment else "",
            "playbook": " ".join(
                filter(
                    None,
                    (
                        f"ansible-playbook -i {shlex.quote(inventory)}",
                        f"playbooks/{PLAYBOOKS.get(job.target, job.target)}.yml",
                        job.options,
                        narrowed,
                    ),
                )
            ),
        }
        for job in JOBS
    ]


def _make(job: Job, environment: str, narrowed: str) -> str:
    options = " ".join(filter(None, (job.options, narrowed)))
    extra = f" EXTRA={shlex.quote(options)}" if options else ""
    return f"make {job.target} ENV={shlex.quote(environment)}{extra}"
