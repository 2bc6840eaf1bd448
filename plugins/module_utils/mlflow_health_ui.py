# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of the web pages: the first one, and a script or style sheet that it loads."""

from __future__ import annotations

import html.parser
from urllib.parse import urljoin, urlsplit

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_checks, mlflow_errors
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_checks import FAILED, PASSED, Verdict, Wrong
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Answer
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_health_session import Session

# MLflow serves its pages' files from there (mlflow/server/__init__.py).
STATIC = "static-files/"
NOT_THE_UI = "check that tracking_uri is MLflow itself, not a login page or another service in front"
STATIC_REMEDY = "let what stands in front pass every path on to MLflow, static-files/ included"


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "link" and (told.get("rel") or "").lower() == "stylesheet":
            self.files.append(told.get("href") or "")
        elif tag == "script":
            self.files.append(told.get("src") or "")


def static_file(page: str) -> str | None:
    """The reference to a file of MLflow's that the page needs, a style sheet rather than a script since it is smaller;
    None if it needs none."""
    parser = _Page()
    parser.feed(page)
    found = [one for one in parser.files if STATIC in one]
    return min(found, key=lambda one: not one.endswith(".css")) if found else None


def first_page(answer: Answer) -> str:
    """The reference to a file in the answer to GET /."""
    if answer.status != 200:
        raise _wrong(mlflow_checks.unexpected(answer, "the first page"))
    if mlflow_errors.body_kind(answer.text) != "html":
        raise Wrong(f"the first page is no HTML ({seen(answer)})", NOT_THE_UI)
    found = static_file(answer.text)
    if found is None:
        raise Wrong(f"the first page is not MLflow's: {mlflow_checks.as_error(answer).message}", NOT_THE_UI)
    return found


def static(name: str, answer: Answer) -> Verdict:
    """The answer to the file named."""
    wanted = "css" if name.endswith(".css") else "javascript"
    kind = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    if answer.status != 200:
        return mlflow_checks.unexpected(answer, name)._replace(remedy=STATIC_REMEDY)
    if not answer.data.strip():
        return Verdict(FAILED, f"{name} is empty", STATIC_REMEDY)
    if not kind.endswith(wanted):
        return Verdict(FAILED, f"{name} comes as {kind or 'nothing'}, not as {wanted}", STATIC_REMEDY)
    return Verdict(PASSED, f"the first page and {name.rsplit('/', 1)[-1]} ({len(answer.data)} bytes) are served")


def seen(answer: Answer) -> str:
    return mlflow_errors.one_line(answer.headers.get("content-type", "") or "no content type", 80)


def ui(session: Session) -> Verdict:
    client = session.client
    start = client.base + "/"
    name = first_page(client.send("GET", "/", login=client.login))
    address = urlsplit(urljoin(start, name))
    host = urlsplit(start)
    if (address.scheme, address.netloc) != (host.scheme, host.netloc):
        message = f"the first page loads its files from {address.scheme}://{address.netloc}"
        return Verdict(FAILED, message, "check what rewrites MLflow's pages")
    below = address.path[len(host.path) - 1 :] if address.path.startswith(host.path) else None
    if below is None:
        return Verdict(FAILED, f"the first page loads {address.path}, outside the prefix", mlflow_checks.PREFIX_REMEDY)
    return static(mlflow_errors.one_line(name), client.send("GET", below, login=client.login))


def _wrong(verdict: Verdict) -> Wrong:
    return Wrong(verdict.message, verdict.remedy)
