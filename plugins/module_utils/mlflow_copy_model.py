# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One registered model from one server to another. Its files travel with the runs and logged models that made them:
here versions are tied to the copies of those."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_copy_plan,
    mlflow_copy_reads,
    mlflow_copy_servers,
    mlflow_copy_versions,
    mlflow_resources,
    mlflow_resources_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import (
    COMPLETE,
    ID,
    SOURCE,
    LoggedModel,
    Run,
    tag_list,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_versions import (
    ADDRESS,
    LOGGED,
    NO_STAGE,
    PLACEHOLDER,
    PROMPT_TAG,
    RUN,
    VERSION,
    Spot,
    Version,
    VersionStep,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_module import Done
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import Model

VERSIONS_A_PAGE = 200


class Job(t.NamedTuple):
    """What is asked for. expected: names of experiments of the source that will have been copied by then."""

    source: Client
    target: Client
    source_name: str
    policy: str
    unplaced: str
    expected: tuple[str, ...]
    with_deleted: bool


def quoted(text: str) -> str:
    """As a filter of MLflow takes it, which knows no escapes."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def versions(client: Client, name: str) -> list[Version]:
    query = {"filter": f"name = {quoted(name)}", "max_results": str(VERSIONS_A_PAGE)}
    found = mlflow_resources_api.pages(client, "model-versions/search", query, "model_versions")
    return sorted(mlflow_copy_versions.version(one) for one in found)


class Homes:
    """Runs and logged models of a server, looked up once each; at the destination by their IDs at the source."""

    def __init__(self, client: Client, source_name: str | None = None) -> None:
        self._client, self._source_name = client, source_name
        self._runs: dict[str, Run | None] = {}
        self._models: dict[str, LoggedModel | None] = {}
        self._experiment_ids: list[str] | None = None
        self.logs = mlflow_copy_servers.has_logged_models(client)

    def _experiments(self) -> list[str]:
        if self._experiment_ids is None:
            self._experiment_ids = [
                one.experiment_id for one in mlflow_resources_api.list_experiments(self._client, "ALL")
            ]
        return self._experiment_ids

    def run(self, identity: str) -> Run | None:
        if identity and identity not in self._runs:
            self._runs[identity] = (
                mlflow_copy_reads.run(self._client, identity)
                if self._source_name is None
                else self._copied_run(identity)
            )
        return self._runs.get(identity)

    def _copied_run(self, identity: str) -> Run | None:
        where = f"tags.`{ID}` = {quoted(identity)}"
        found = mlflow_copy_reads.runs(self._client, self._experiments(), "ALL", where)
        return mlflow_copy_plan.copies(found, str(self._source_name)).get(identity)

    def model(self, identity: str) -> LoggedModel | None:
        if identity and self.logs and identity not in self._models:
            self._models[identity] = (
                mlflow_copy_reads.logged_model(self._client, identity)
                if self._source_name is None
                else self._copied_model(identity)
            )
        return self._models.get(identity)

    def _copied_model(self, identity: str) -> LoggedModel | None:
        where = f"tags.`{ID}` = {quoted(identity)}"
        found = mlflow_copy_reads.logged_models(self._client, self._experiments(), where)
        return next((one for one in found if one.tags.get(SOURCE) == self._source_name), None)

    def spot(self, version: Version) -> Spot:
        run = self.run(mlflow_copy_versions.named_run(version))
        model = self.model(mlflow_copy_versions.named_model(version))
        return mlflow_copy_versions.spot(version, run.artifact_uri if run else "", model.artifact_uri if model else "")


class Look:
    """What both servers have of the model, and what is to be done."""

    def __init__(self, job: Job, name: str, wanted: str) -> None:
        self.job = job
        self.name = name
        self.losses: list[str] = []
        # What a comparison of both servers must not ask for, by the keys of mlflow_copy_census.
        self.left_out: list[str] = []
        self.steps: list[VersionStep] = []
        self.spots: dict[int, Spot] = {}
        self.placeholders: list[int] = []
        self.newest = 0
        found = mlflow_resources_api.find_model(job.source, name)
        if found is None:
            names = [one.name for one in all_models(job.source)]
            raise ValueError(mlflow_resources.unknown("name", "registered model", name, names))
        self.model = found
        major = mlflow_copy_servers.version(job.target)[0]
        self.is_prompt = mlflow_copy_versions.is_prompt(found.tags)
        everything = all_models(job.target)
        self.wanted, self.current, self.skipped = mlflow_copy_versions.place(
            name, wanted, everything, job.source_name, job.policy
        )
        self.numbers: dict[int, int] = {}
        if self.is_prompt and major < 3:
            self.skipped = "it is a prompt, which needs MLflow 3 at the destination"
        if self.skipped:
            self.losses.append(f"registered model {name!r} is left out: {self.skipped}")
            return
        if self.current is None:
            mlflow_copy_versions.refuse_name(self.wanted, major)
        self.homes, self.copied = Homes(job.source), Homes(job.target, job.source_name)
        self._look()

    def _look(self) -> None:
        job = self.job
        there = versions(job.target, self.wanted) if self.current else []
        self.newest = max((one.number for one in there), default=0)
        self.placeholders = [one.number for one in there if PLACEHOLDER in one.tags]
        copies = mlflow_copy_versions.version_copies(there, job.source_name)
        self.numbers = {number: one.number for number, one in copies.items()}
        for step in mlflow_copy_versions.version_steps(versions(job.source, self.name), copies):
            if step.there is None:
                reason = self._no_home(step.version)
                if reason:
                    self._unplaced(step.version, reason)
                    continue
            self.steps.append(step)

    def _no_home(self, version: Version) -> str:
        """Why the destination has no place for the version's files; empty if it has."""
        if self.is_prompt:
            return ""
        spot = self.spots[version.number] = self.homes.spot(version)
        if spot.kind == ADDRESS and not mlflow_copy_versions.is_reachable(spot.rest):
            return (
                f"its source {spot.rest} is not among the artifacts of a run or logged model that the source still has"
            )
        if spot.kind == ADDRESS:
            self.losses.append(
                f"registered model {self.name!r}, version {version.number}: its files stay where they are, {spot.rest}"
            )
        if spot.kind == VERSION and not self._has_version(spot):
            return f"it is made of version {spot.rest} of {spot.id!r}, which has not been copied"
        if spot.kind == LOGGED and not self.copied.logs:
            return "it is made of a logged model, which needs MLflow 3 at the destination"
        if spot.kind == LOGGED and not self._will_be(self.copied.model(spot.id), self.homes.model(spot.id)):
            return f"its logged model {spot.id} has not been copied"
        if spot.kind == RUN and not self._will_be(self.copied.run(spot.id), self.homes.run(spot.id)):
            return f"its run {spot.id} has not been copied"
        return ""

    def _will_be(self, there: t.Any, here: t.Any) -> bool:
        """Whether the owner of files is at the destination, or will be by then."""
        if there is not None and there.tags.get(COMPLETE):
            return True
        if here is None or not self.job.expected:
            return False
        experiment = mlflow_resources_api.find_experiment_by_id(self.job.source, here.experiment_id)
        is_deleted = isinstance(here, Run) and here.deleted and not self.job.with_deleted
        return experiment is not None and experiment.name in self.job.expected and not is_deleted

    def _has_version(self, spot: Spot) -> bool:
        return bool(self.job.expected) or self.mapped_version(spot) is not None

    def mapped_version(self, spot: Spot) -> str | None:
        """The address of the copy of a version of another model."""
        for one in all_models(self.job.target):
            if mlflow_copy_plan.is_copy_of(one.tags, self.job.source_name, spot.id):
                copies = mlflow_copy_versions.version_copies(versions(self.job.target, one.name), self.job.source_name)
                found = copies.get(int(spot.rest))
                return f"models:/{one.name}/{found.number}" if found else None
        return None

    def _unplaced(self, version: Version, reason: str) -> None:
        line = f"registered model {self.name!r}, version {version.number}: {reason}"
        if self.job.unplaced == mlflow_copy_plan.FAIL:
            raise ValueError(
                f"{line}; copy its experiment first (with_deleted: true where it or its run is deleted), or say"
                " unplaced_versions: skip to leave such versions out"
            )
        self.losses.append(f"{line}; the version is left out")
        self.left_out.append(f"version {self.name}/{version.number}")
        for alias, number in self.model.aliases.items():
            if int(number) == version.number:
                self.losses.append(f"registered model {self.name!r}: its alias {alias!r} of that version is left out")
                self.left_out.append(f"alias {self.name}/{alias}")

    def tags(self) -> dict[str, str]:
        wanted = {
            **mlflow_copy_versions.model_tags(self.model),
            **mlflow_copy_plan.marks(self.job.source_name, self.name),
        }
        there = self.current.tags if self.current else {}
        return {key: value for key, value in wanted.items() if there.get(key) != value}

    def future_numbers(self) -> dict[int, int]:
        """Numbers at the source to those at the destination, as far as can be foretold."""
        new = {step.version.number: step.version.number for step in self.steps if step.there is None}
        return {**new, **self.numbers}

    def aliases(self, numbers: t.Mapping[int, int]) -> dict[str, str]:
        there = self.current.aliases if self.current else {}
        return mlflow_copy_versions.aliases_to_set(self.model.aliases, there, numbers)

    def changes(self) -> Done:
        if self.skipped:
            return []
        current = self.current
        found: Done = [] if current else [{"action": "create_model", "name": self.wanted}]
        if current:
            if current.description != self.model.description:
                found.append({"action": "set_description"})
            found += [{"action": "set_tag", "key": key} for key in self.tags()]
        for step in self.steps:
            action = "copy_version" if step.there is None else "change_version"
            found.append({"action": action, "version": step.version.number})
        return found + [{"action": "set_alias", "alias": alias} for alias in self.aliases(self.future_numbers())]


def all_models(client: Client) -> list[Model]:
    """Registered models and prompts, which share their names."""
    found = {one.name: one for one in [*mlflow_resources_api.list_models(client), *list_prompts(client)]}
    return list(found.values())


def list_prompts(client: Client) -> list[Model]:
    """Servers of MLflow 3 leave prompts out of a search that does not ask for them."""
    query = {"filter": f"tags.`{PROMPT_TAG}` = 'true'", "max_results": "1000"}
    found = mlflow_resources_api.pages(client, "registered-models/search", query, "registered_models")
    return [mlflow_resources.model(one) for one in found]


class Carrier:
    """Does what a look found."""

    def __init__(self, look: Look, done: Done) -> None:
        self.look, self.job, self.done = look, look.job, done
        # The highest number that the destination is known to have given.
        self._newest = look.newest

    def carry(self) -> dict[int, int]:
        """Versions at the source to those at the destination."""
        look = self.look
        self._model()
        for number in look.placeholders:
            self._remove(number)
        numbers = dict(look.numbers)
        for step in look.steps:
            there = step.there or self._create(step.version)
            numbers[step.version.number] = there.number
            self._change(step.version, there)
            action = "copy_version" if step.there is None else "change_version"
            self.done.append({"action": action, "version": step.version.number})
        for alias, number in look.aliases(numbers).items():
            body = {"name": look.wanted, "alias": alias, "version": number}
            self._call("POST", "registered-models/alias", body)
            self.done.append({"action": "set_alias", "alias": alias})
        return numbers

    def _call(self, method: str, path: str, body: dict[str, t.Any], repeatable: bool = True) -> dict[str, t.Any]:
        return self.job.target.call(method, path, body=body, repeatable=repeatable)

    def _model(self) -> None:
        look = self.look
        if look.current is None:
            body = {"name": look.wanted, "description": look.model.description, "tags": tag_list(look.tags())}
            self._call("POST", "registered-models/create", body, repeatable=False)
            self.done.append({"action": "create_model", "name": look.wanted})
            return
        if look.current.description != look.model.description:
            body = {"name": look.wanted, "description": look.model.description}
            self._call("PATCH", "registered-models/update", body)
            self.done.append({"action": "set_description"})
        for key, value in look.tags().items():
            self._call("POST", "registered-models/set-tag", {"name": look.wanted, "key": key, "value": value})
            self.done.append({"action": "set_tag", "key": key})

    def _create(self, version: Version) -> Version:
        """The version, with the number that it has at the source if it is still to be had: clients ask for numbers."""
        body = self._body(version)
        # Numbers that the source has deleted are used up; the server counts them too.
        while self._newest + 1 < version.number:
            marks = {PLACEHOLDER: "true", **({PROMPT_TAG: "true"} if self.look.is_prompt else {})}
            self._remove(self._make({**body, "tags": tag_list(marks)}).number)
        return self._make(body)

    def _make(self, body: dict[str, t.Any]) -> Version:
        answer = self._call("POST", "model-versions/create", body, repeatable=False)
        made = mlflow_copy_versions.version(answer["model_version"])
        self._newest = made.number
        return made

    def _remove(self, number: int) -> None:
        self._call("DELETE", "model-versions/delete", {"name": self.look.wanted, "version": str(number)})

    def _body(self, version: Version) -> dict[str, t.Any]:
        look = self.look
        tags = {**version.own_tags(), **mlflow_copy_plan.marks(self.job.source_name, str(version.number))}
        body: dict[str, t.Any] = {
            "name": look.wanted,
            "source": version.source,
            "description": version.description,
            "tags": tag_list(tags),
        }
        if version.run_link:
            body["run_link"] = version.run_link
        if look.is_prompt:
            return body
        spot = look.spots[version.number]
        run = look.copied.run(mlflow_copy_versions.named_run(version))
        model = look.copied.model(mlflow_copy_versions.named_model(version))
        if run:
            body["run_id"] = run.run_id
        if model:
            body["model_id"] = model.model_id
        if spot.kind == RUN and run:
            body["source"] = mlflow_copy_versions.joined(run.artifact_uri, spot.rest)
        elif spot.kind == LOGGED and model:
            is_named = version.source.startswith("models:/")
            body["source"] = (
                f"models:/{model.model_id}" if is_named else mlflow_copy_versions.joined(model.artifact_uri, spot.rest)
            )
        elif spot.kind == VERSION:
            body["source"] = look.mapped_version(spot)
        return body

    def _change(self, version: Version, there: Version) -> None:
        """Whatever of the copy differs from the version."""
        name, number = self.look.wanted, str(there.number)
        for what in mlflow_copy_versions.differences(version, there):
            if what == "description":
                self._call(
                    "PATCH",
                    "model-versions/update",
                    {"name": name, "version": number, "description": version.description},
                )
            elif what == "stage":
                body = {
                    "name": name,
                    "version": number,
                    "stage": version.stage or NO_STAGE,
                    "archive_existing_versions": False,
                }
                self._call("POST", "model-versions/transition-stage", body)
            else:
                key = what[len("tag:") :]
                body = {"name": name, "version": number, "key": key, "value": version.tags[key]}
                self._call("POST", "model-versions/set-tag", body)
