# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server holds, counted and hashed so that two servers can be compared whatever IDs they gave."""

from __future__ import annotations

import fnmatch
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_copy_artifacts,
    mlflow_copy_content,
    mlflow_copy_model,
    mlflow_copy_plan,
    mlflow_copy_reads,
    mlflow_copy_servers,
    mlflow_copy_versions,
    mlflow_resources_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import (
    COMPLETE,
    ID,
    SOURCE,
    File,
    LoggedModel,
    Run,
    digest,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_versions import LOGGED, RUN, VERSION, Spot
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import DELETED, Experiment, Model

# How closely to look.
COUNTS, CONTENT, HASHES = "counts", "content", "hashes"
DETAILS = (COUNTS, CONTENT, HASHES)


class Ask(t.NamedTuple):
    """What to look at. copied_from: only copies of this source, known by their IDs there; None: everything."""

    client: Client
    experiments: tuple[str, ...]
    models: tuple[str, ...]
    with_deleted: bool
    detail: str
    copied_from: str | None
    max_parallel: int
    folder: str


def selected(name: str, patterns: t.Iterable[str]) -> bool:
    """Whether a name is meant, as it is or by a pattern of a shell."""
    return any(name == one or fnmatch.fnmatchcase(name, one) for one in patterns)


class Census:
    """Collects facts and digests of one server."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.digests: dict[str, str] = {}
        self._logs = mlflow_copy_servers.has_logged_models(ask.client)
        self._homes = mlflow_copy_model.Homes(ask.client)

    def experiments(self) -> list[dict[str, t.Any]]:
        ask = self.ask
        view = "ALL" if ask.with_deleted else "ACTIVE_ONLY"
        found = [
            one
            for one in mlflow_resources_api.list_experiments(ask.client, view)
            if selected(one.name, ask.experiments) and self._identity(one) is not None
        ]
        return [self._experiment(one) for one in sorted(found, key=lambda one: one.name)]

    def _identity(self, experiment: Experiment) -> str | None:
        """Its ID at the source."""
        if self.ask.copied_from is None or experiment.experiment_id == mlflow_copy_plan.DEFAULT_EXPERIMENT:
            return experiment.experiment_id
        return experiment.tags.get(ID) if experiment.tags.get(SOURCE) == self.ask.copied_from else None

    def _ours(self, owner: t.Any) -> bool:
        if self.ask.copied_from is None:
            return True
        return owner.tags.get(SOURCE) == self.ask.copied_from and bool(owner.tags.get(COMPLETE))

    def _id_of(self, owner: t.Any, own: str) -> str:
        return own if self.ask.copied_from is None else owner.tags[ID]

    def _experiment(self, experiment: Experiment) -> dict[str, t.Any]:
        ask = self.ask
        view = "ALL" if ask.with_deleted else "ACTIVE_ONLY"
        runs = [one for one in mlflow_copy_reads.runs(ask.client, [experiment.experiment_id], view) if self._ours(one)]
        models: list[LoggedModel] = []
        if self._logs:
            found = mlflow_copy_reads.logged_models(ask.client, [experiment.experiment_id])
            models = [one for one in found if self._ours(one)]
        facts = {
            "experiment_id": experiment.experiment_id,
            "source_experiment_id": self._identity(experiment),
            "name": experiment.name,
            "lifecycle_stage": experiment.lifecycle_stage,
            "runs": len(runs),
            "deleted_runs": sum(one.deleted for one in runs),
            "params": sum(len(one.params) for one in runs),
            "tags": sum(len(one.own_tags()) for one in runs),
            "datasets": sum(len(one.datasets) for one in runs),
            "logged_models": len(models),
            "metrics": None,
            "artifacts": None,
            "artifact_bytes": None,
            "largest_artifact": None,
        }
        if ask.detail != COUNTS:
            facts.update(self._content(experiment, runs, models))
        return facts

    def _content(self, experiment: Experiment, runs: list[Run], models: list[LoggedModel]) -> dict[str, int]:
        ask = self.ask
        size = mlflow_copy_reads.HISTORIES_AT_ONCE
        chunks = [runs[start : start + size] for start in range(0, len(runs), size)]
        points: dict[str, list[mlflow_copy_content.Point]] = {}
        for found in mlflow_copy_servers.in_parallel(
            lambda chunk: mlflow_copy_reads.histories(ask.client, chunk), chunks, ask.max_parallel
        ):
            points.update({key: mlflow_copy_content.sorted_points(one) for key, one in found.items()})
        rows = mlflow_copy_servers.in_parallel(self._files, [*runs, *models], ask.max_parallel)
        if ask.detail == HASHES:
            self._hash(experiment, runs, models, points, rows)
        sizes = [row[1] for files in rows for row in files]
        return {
            "metrics": sum(map(len, points.values())),
            "artifacts": len(sizes),
            "artifact_bytes": sum(sizes),
            "largest_artifact": max(sizes, default=0),
        }

    def _files(self, owner: Run | LoggedModel) -> list[t.Any]:
        found: list[File] = mlflow_copy_artifacts.files(self.ask.client, owner)
        files = [one for one in found if mlflow_copy_artifacts.is_readable(one.path)]
        if self.ask.detail != HASHES:
            return files
        return mlflow_copy_artifacts.hashes(self.ask.client, owner, files, self.ask.folder)

    def _hash(
        self,
        experiment: Experiment,
        runs: list[Run],
        models: list[LoggedModel],
        points: dict[str, list[mlflow_copy_content.Point]],
        rows: list[list[t.Any]],
    ) -> None:
        run_ids = {run.run_id: self._id_of(run, run.run_id) for run in runs}
        model_ids = {model.model_id: self._id_of(model, model.model_id) for model in models}
        # The default experiment is that of many sources.
        if experiment.experiment_id != mlflow_copy_plan.DEFAULT_EXPERIMENT:
            tags = {key: text for key, text in experiment.tags.items() if key not in mlflow_copy_content.MARKS}
            self.digests[f"experiment {self._identity(experiment)}"] = digest(
                [experiment.lifecycle_stage == DELETED, tags]
            )
        for run, files in zip(runs, rows):
            identity = run_ids[run.run_id]
            # Of an experiment that is deleted, they are too, whatever a file store says.
            seen = run._replace(lifecycle=DELETED) if experiment.lifecycle_stage == DELETED else run
            value = mlflow_copy_content.run_value(seen, points[run.run_id], files, run_ids)
            self.digests[f"run {identity}"] = digest(value)
            if run.tied:
                self.digests[f"ties {identity}"] = digest(mlflow_copy_content.ties_value(run, model_ids))
        for model, files in zip(models, rows[len(runs) :]):
            value = mlflow_copy_content.model_value(model, files, run_ids)
            self.digests[f"logged_model {model_ids[model.model_id]}"] = digest(value)

    def models(self) -> list[dict[str, t.Any]]:
        ask = self.ask
        found = mlflow_copy_model.all_models(ask.client)
        if ask.copied_from is not None:
            found = [one for one in found if one.tags.get(SOURCE) == ask.copied_from]
        self._names = {one.name: self._id_of(one, one.name) for one in found}
        facts = [self._model(one) for one in sorted(found) if selected(one.name, ask.models)]
        return mlflow_copy_versions.in_order(facts)

    def _model(self, model: Model) -> dict[str, t.Any]:
        ask = self.ask
        versions = mlflow_copy_model.versions(ask.client, model.name)
        if ask.copied_from is not None:
            versions = [one for one in versions if one.tags.get(SOURCE) == ask.copied_from]
        name = self._names[model.name]
        if ask.detail == HASHES:
            numbers = {str(one.number): self._id_of(one, str(one.number)) for one in versions}
            is_prompt = mlflow_copy_versions.is_prompt(model.tags)
            self.digests[f"registered_model {name}"] = digest(mlflow_copy_versions.model_value(model))
            for alias, number in model.aliases.items():
                self.digests[f"alias {name}/{alias}"] = digest(numbers.get(number))
            for one in versions:
                spot = Spot("", "", one.source) if is_prompt else self._at_source(self._homes.spot(one))
                key = f"version {name}/{numbers[str(one.number)]}"
                self.digests[key] = digest(mlflow_copy_versions.version_value(one, spot))
        return {
            "name": model.name,
            "source_name": name,
            "versions": len(versions),
            "aliases": len(model.aliases),
            "prompt": mlflow_copy_versions.is_prompt(model.tags),
            "made_of": sorted(mlflow_copy_versions.made_of(versions) - {model.name}),
        }

    def _at_source(self, spot: Spot) -> Spot:
        """By the IDs of the source."""
        if self.ask.copied_from is None:
            return spot
        if spot.kind in (RUN, LOGGED):
            owner: t.Any = self._homes.run(spot.id) if spot.kind == RUN else self._homes.model(spot.id)
            return spot._replace(id=owner.tags.get(ID, spot.id)) if owner else spot
        if spot.kind == VERSION and spot.id in self._names:
            versions = mlflow_copy_model.versions(self.ask.client, spot.id)
            numbers = {str(one.number): one.tags.get(ID, str(one.number)) for one in versions}
            return spot._replace(id=self._names[spot.id], rest=numbers.get(spot.rest, spot.rest))
        return spot


def totals(experiments: t.Sequence[dict[str, t.Any]], models: t.Sequence[dict[str, t.Any]]) -> dict[str, int | None]:
    """Sums; None for what was not looked at."""
    found: dict[str, int | None] = {"experiments": len(experiments)}
    for key in ("runs", "params", "tags", "metrics", "datasets", "logged_models", "artifacts", "artifact_bytes"):
        values = [one[key] for one in experiments]
        found[key] = None if None in values else sum(values)
    return {**found, "registered_models": len(models), "versions": sum(one["versions"] for one in models)}
