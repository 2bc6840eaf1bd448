# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One experiment from one server to another: looks, decides, and carries it over with several requests at a time."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import (
    mlflow_copy_artifacts,
    mlflow_copy_plan,
    mlflow_copy_reads,
    mlflow_copy_servers,
    mlflow_copy_writes,
    mlflow_resources,
    mlflow_resources_api,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_content import (
    ID,
    SOURCE,
    File,
    LoggedModel,
    Point,
    Run,
    sorted_points,
)
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_copy_plan import DELETE, RESTORE, RunStep
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_module import Done
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import DELETED, Experiment

MIB = 1024 * 1024


class Job(t.NamedTuple):
    """What is asked for. largest: bytes of a file that the destination takes, 0 for any; folder: for large files."""

    source: Client
    target: Client
    source_name: str
    policy: str
    with_deleted: bool
    refresh: bool
    max_parallel: int
    largest: int
    folder: str


class Content(t.NamedTuple):
    """What a run has beyond what a search shows."""

    points: list[Point]
    files: list[File]


class Look:
    """What both servers have of the experiment, and what is to be done."""

    def __init__(self, job: Job, experiment: Experiment, name: str) -> None:
        self.job, self.experiment = job, experiment
        everything = mlflow_resources_api.list_experiments(job.target, "ALL")
        self.place = mlflow_copy_plan.place(experiment, name, everything, job.source_name, job.policy)
        self.losses: list[str] = []
        # What a comparison of both servers must not ask for, by the keys of mlflow_copy_census.
        self.left_out: list[str] = []
        self.run_ids: dict[str, str] = {}
        self.model_ids: dict[str, str] = {}
        self.steps: list[RunStep] = []
        self.models: list[LoggedModel] = []
        self.models_there: dict[str, LoggedModel] = {}
        self.contents: dict[str, Content] = {}
        self._source_logs = mlflow_copy_servers.has_logged_models(job.source)
        self._target_logs = mlflow_copy_servers.has_logged_models(job.target)
        self.model_files: dict[str, list[File]] = {}
        if self.place.skipped:
            self.losses.append(f"experiment {experiment.name!r} is left out: {self.place.skipped}")
            return
        _refuse_no_proxy(everything)
        self._look()

    @property
    def goes(self) -> bool:
        """Whether the experiment is deleted at the source, and so is its copy in the end."""
        is_default = self.experiment.experiment_id == mlflow_copy_plan.DEFAULT_EXPERIMENT
        return self.experiment.lifecycle_stage == DELETED and not is_default

    def _look(self) -> None:
        job, current = self.job, self.place.current
        view = "ALL" if job.with_deleted else "ACTIVE_ONLY"
        runs = mlflow_copy_reads.runs(job.source, [self.experiment.experiment_id], view)
        there = {}
        if current:
            found = mlflow_copy_reads.runs(job.target, [current.experiment_id])
            there = mlflow_copy_plan.copies(found, job.source_name)
        self.run_ids = {identity: run.run_id for identity, run in there.items()}
        revived = current is not None and current.lifecycle_stage == DELETED and not self.goes
        self.steps = mlflow_copy_plan.run_steps(runs, there, self.goes, revived, job.refresh)
        models = self._look_at_models() if self._source_logs else []
        self._tell_losses(runs, models)
        self._read([step.run for step in self.steps if step.action not in (DELETE, RESTORE)])

    def _look_at_models(self) -> list[LoggedModel]:
        job, current = self.job, self.place.current
        models = mlflow_copy_reads.logged_models(job.source, [self.experiment.experiment_id])
        if current and models and self._target_logs:
            found = mlflow_copy_reads.logged_models(job.target, [current.experiment_id])
            self.models_there = {one.tags[ID]: one for one in found if one.tags.get(SOURCE) == job.source_name}
        self.model_ids = {identity: model.model_id for identity, model in self.models_there.items()}
        if self._target_logs:
            self.models = mlflow_copy_plan.model_steps(models, self.models_there, job.refresh)
        return models

    def _tell_losses(self, runs: list[Run], models: list[LoggedModel]) -> None:
        job, name = self.job, self.experiment.name
        if models and not self._target_logs:
            self.losses.append(f"experiment {name!r}: its {len(models)} logged models need MLflow 3 at the destination")
            self.left_out += [f"logged_model {model.model_id}" for model in models]
        left = mlflow_copy_reads.left_behind(job.source, self.experiment.experiment_id, self._source_logs)
        self.losses += [
            f"experiment {name!r}: its {count} {kind} stay behind, since MLflow has no way to carry them"
            for kind, count in left.items()
        ]
        known = {model.model_id for model in models} if self._target_logs else set()
        self.left_out += [
            f"ties {run.run_id}" for run in runs if not known.issuperset((*run.model_inputs, *run.outputs))
        ]
        self.losses += mlflow_copy_plan.strangers(
            runs, {run.run_id for run in runs}, {model.model_id for model in models}
        )

    def _read(self, runs: list[Run]) -> None:
        job = self.job
        size = mlflow_copy_reads.HISTORIES_AT_ONCE
        chunks = [runs[start : start + size] for start in range(0, len(runs), size)]
        points: dict[str, list[Point]] = {}
        for found in mlflow_copy_servers.in_parallel(
            lambda chunk: mlflow_copy_reads.histories(job.source, chunk), chunks, job.max_parallel
        ):
            points.update(found)
        owners: list[t.Any] = [*runs, *self.models]
        files = mlflow_copy_servers.in_parallel(
            lambda owner: mlflow_copy_artifacts.files(job.source, owner), owners, job.max_parallel
        )
        for owner, everything in zip(owners, files):
            listed = [one for one in everything if mlflow_copy_artifacts.is_readable(one.path)]
            self._refuse_large(owner, listed)
            self.losses += [
                f"{mlflow_copy_artifacts.identity(owner)}: artifact {one.path!r} has a name that no server of MLflow reads"
                for one in everything
                if one not in listed
            ]
            if isinstance(owner, Run):
                self.contents[owner.run_id] = Content(sorted_points(points[owner.run_id]), listed)
            else:
                self.model_files[owner.model_id] = listed

    def _refuse_large(self, owner: Run | LoggedModel, files: list[File]) -> None:
        for file in files:
            if self.job.largest and file.size > self.job.largest:
                raise ValueError(
                    f"artifact {file.path!r} of {mlflow_copy_artifacts.identity(owner)} in experiment"
                    f" {self.experiment.name!r} has {-(-file.size // MIB)} MiB, and the destination takes"
                    f" {self.job.largest // MIB} MiB; raise what it takes (mlflow_largest_artifact_gib of the deployment),"
                    " or leave the experiment out"
                )

    def tags(self) -> dict[str, str]:
        return mlflow_copy_plan.experiment_tags(self.experiment, self.place.current, self.job.source_name)

    def changes(self) -> Done:
        """All that is to be done, as the module returns it."""
        if self.place.skipped:
            return []
        current = self.place.current
        found: Done = [] if current else [{"action": "create_experiment", "name": self.place.name}]
        work = bool(self.steps or self.models or (current and self.tags()))
        if current and current.lifecycle_stage == DELETED and (work or not self.goes):
            found.append({"action": "restore_experiment"})
        if current:
            found += [{"action": "set_tag", "key": key} for key in self.tags()]
        found += [{"action": step.action, "run_id": step.run.run_id} for step in self.steps]
        found += [{"action": "copy_logged_model", "model_id": one.model_id} for one in self.models]
        if self.goes and (work or current is None or current.lifecycle_stage != DELETED):
            found.append({"action": "delete_experiment"})
        return found

    def totals(self) -> dict[str, int]:
        """How much is to be copied."""
        runs = [step.run for step in self.steps if step.run.run_id in self.contents]
        files = [file for one in self.contents.values() for file in one.files]
        files += [file for listed in self.model_files.values() for file in listed]
        return {
            "runs": len(runs),
            "params": sum(len(run.params) for run in runs),
            "tags": sum(len(run.own_tags()) for run in runs),
            "metrics": sum(len(one.points) for one in self.contents.values()),
            "datasets": sum(len(run.datasets) for run in runs),
            "logged_models": len(self.models),
            "artifacts": len(files),
            "artifact_bytes": sum(file.size for file in files),
        }


def _refuse_no_proxy(experiments: t.Iterable[Experiment]) -> None:
    for one in experiments:
        if one.experiment_id == mlflow_copy_plan.DEFAULT_EXPERIMENT:
            mlflow_copy_artifacts.root(one.artifact_location)


class Carrier:
    """Does what a look found."""

    def __init__(self, look: Look, done: Done) -> None:
        self.look, self.job, self.done = look, look.job, done
        self._experiment_id = ""
        # Copies whose logged models are still to come: what was there of each run before.
        self._tied: list[tuple[RunStep, Run]] = []
        self._lock = threading.Lock()

    def carry(self) -> str:
        """The ID of the experiment at the destination."""
        look, job = self.look, self.job
        plan = look.changes()
        self._experiment_id = self._experiment([one["action"] for one in plan])
        by_id = {step.run.run_id: step for step in look.steps}
        for wave in mlflow_copy_plan.waves([step.run for step in look.steps]):
            steps = [by_id[run.run_id] for run in wave]
            mlflow_copy_servers.in_parallel(self._run, steps, job.max_parallel)
        mlflow_copy_servers.in_parallel(self._model, look.models, job.max_parallel)
        mlflow_copy_servers.in_parallel(lambda pair: self._finish(*pair), self._tied, job.max_parallel)
        if plan and plan[-1]["action"] == "delete_experiment":
            self._post("experiments/delete", {"experiment_id": self._experiment_id})
            self.done.append(plan[-1])
        return self._experiment_id

    def _post(self, path: str, body: dict[str, t.Any]) -> dict[str, t.Any]:
        return self.job.target.call("POST", path, body=body, repeatable=True)

    def _experiment(self, actions: list[str]) -> str:
        look, current = self.look, self.look.place.current
        if current is None:
            tags = [{"key": key, "value": value} for key, value in look.tags().items()]
            body = {"name": look.place.name, "tags": tags}
            made = self.job.target.call("POST", "experiments/create", body=body)
            self.done.append({"action": "create_experiment", "name": look.place.name})
            return str(made["experiment_id"])
        if "restore_experiment" in actions:
            self._post("experiments/restore", {"experiment_id": current.experiment_id})
            self.done.append({"action": "restore_experiment"})
        for key, value in look.tags().items():
            body = {"experiment_id": current.experiment_id, "key": key, "value": value}
            self._post("experiments/set-experiment-tag", body)
            self.done.append({"action": "set_tag", "key": key})
        return current.experiment_id

    def _run(self, step: RunStep) -> None:
        look, job = self.look, self.job
        if step.there and step.action in (DELETE, RESTORE):
            mlflow_copy_writes.set_lifecycle(job.target, step.there.run_id, step.action == DELETE)
            self._did(step)
            return
        there = step.there
        if there is None:
            there = mlflow_copy_writes.create_run(job.target, self._experiment_id, step.run, job.source_name)
        elif there.deleted and look.place.current and look.place.current.lifecycle_stage != DELETED:
            mlflow_copy_writes.set_lifecycle(job.target, there.run_id, False)
        with self._lock:
            look.run_ids[step.run.run_id] = there.run_id
        mlflow_copy_artifacts.copy(
            job.source, job.target, step.run, there, look.contents[step.run.run_id].files, job.folder
        )
        mlflow_copy_writes.log_datasets(job.target, step.run, there)
        if step.run.tied:
            with self._lock:
                self._tied.append((step, there))
        else:
            self._finish(step, there)

    def _finish(self, step: RunStep, there: Run) -> None:
        look, job = self.look, self.job
        if step.run.tied and look.model_ids:
            mlflow_copy_writes.log_models(job.target, step.run, there, look.model_ids)
        points = look.contents[step.run.run_id].points
        mlflow_copy_writes.log_rest(job.target, step.run, there, points, look.run_ids)
        if step.run.deleted and not look.goes:
            mlflow_copy_writes.set_lifecycle(job.target, there.run_id, True)
        self._did(step)

    def _model(self, model: LoggedModel) -> None:
        look, job = self.look, self.job
        there = look.models_there.get(model.model_id)
        if there is None:
            there = mlflow_copy_writes.create_logged_model(
                job.target, self._experiment_id, model, job.source_name, look.run_ids
            )
        with self._lock:
            look.model_ids[model.model_id] = there.model_id
        mlflow_copy_artifacts.copy(job.source, job.target, model, there, look.model_files[model.model_id], job.folder)
        mlflow_copy_writes.finish_logged_model(job.target, model, there, look.run_ids)
        with self._lock:
            self.done.append({"action": "copy_logged_model", "model_id": model.model_id})

    def _did(self, step: RunStep) -> None:
        with self._lock:
            self.done.append({"action": step.action, "run_id": step.run.run_id})


def find(client: Client, params: t.Mapping[str, t.Any]) -> Experiment:
    """The experiment that the options name or experiment_id mean; ValueError if there is none, or a deleted one that is
    not asked for."""
    everything = mlflow_resources_api.list_experiments(client, "ALL")
    option = "experiment_id" if params["experiment_id"] else "name"
    found = [one for one in everything if getattr(one, option) == params[option]]
    if not found:
        names = [getattr(one, option) for one in everything]
        raise ValueError(mlflow_resources.unknown(option, "experiment", params[option], names))
    # A file store may have a deleted one of the same name.
    best = min(found, key=lambda one: one.lifecycle_stage == DELETED)
    if best.lifecycle_stage == DELETED and not params["with_deleted"]:
        raise ValueError(
            f"{option}: {params[option]!r} is deleted at the source; say with_deleted: true to copy it all the same"
        )
    return best
