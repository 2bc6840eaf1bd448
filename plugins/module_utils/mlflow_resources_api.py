# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments and registered models on a server: https://mlflow.org/docs/latest/rest-api.html, 2.x and 3.x alike."""

from __future__ import annotations

import typing as t

from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_resources
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_client import Client
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_errors import MlflowError
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_resources import Experiment, Model
from ansible_collections.mlops.mlflow_aws.plugins.module_utils.mlflow_permissions import (
    EXPERIMENT,
    REGISTERED_MODEL,
    Resource,
)

# The most that one answer may hold (mlflow/store/tracking and mlflow/store/model_registry).
EXPERIMENTS_A_PAGE, MODELS_A_PAGE = 50000, 1000
# Prompts are registered models with this tag (mlflow/prompt/constants.py).
PROMPT_TAG = "mlflow.prompt.is_prompt"


def pages(client: Client, path: str, query: dict[str, str], key: str) -> t.Iterator[dict[str, t.Any]]:
    while True:
        answer = client.call("GET", path, query=query)
        yield from answer.get(key) or []
        token = answer.get("next_page_token")
        if not token:
            return
        query = {**query, "page_token": token}


def list_experiments(client: Client, view: str = "ACTIVE_ONLY") -> list[Experiment]:
    """view: ACTIVE_ONLY, DELETED_ONLY or ALL."""
    query = {"max_results": str(EXPERIMENTS_A_PAGE), "view_type": view}
    return [mlflow_resources.experiment(one) for one in pages(client, "experiments/search", query, "experiments")]


def list_models(client: Client) -> list[Model]:
    query = {"max_results": str(MODELS_A_PAGE)}
    return [
        mlflow_resources.model(one)
        for one in pages(client, "registered-models/search", query, "registered_models")
    ]


def _found(client: Client, path: str, query: dict[str, str]) -> dict[str, t.Any] | None:
    try:
        return client.call("GET", path, query=query)
    except MlflowError as error:
        if error.status == 404 and error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def find_experiment(client: Client, name: str) -> Experiment | None:
    """The experiment of that name, a deleted one too."""
    answer = _found(client, "experiments/get-by-name", {"experiment_name": name})
    return None if answer is None else mlflow_resources.experiment(answer["experiment"])


def find_experiment_by_id(client: Client, experiment_id: str) -> Experiment | None:
    answer = _found(client, "experiments/get", {"experiment_id": experiment_id})
    return None if answer is None else mlflow_resources.experiment(answer["experiment"])


def find_model(client: Client, name: str) -> Model | None:
    answer = _found(client, "registered-models/get", {"name": name})
    return None if answer is None else mlflow_resources.model(answer["registered_model"])


def find_version(client: Client, name: str, version: str) -> bool:
    """Whether the model has that version."""
    return _found(client, "model-versions/get", {"name": name, "version": version}) is not None


def find(client: Client, params: t.Mapping[str, t.Any]) -> Resource:
    """What the options experiment, experiment_id and registered_model name; ValueError if it is not there, not active,
    or not what it seems."""
    if params.get("experiment_id"):
        found = find_experiment_by_id(client, params["experiment_id"])
        if found is None or found.lifecycle_stage != mlflow_resources.ACTIVE:
            raise ValueError(
                f"experiment_id: {params['experiment_id']!r}; there is no active experiment of that ID; check it"
            )
        return Resource(EXPERIMENT, found.experiment_id)
    if params.get("experiment"):
        name = params["experiment"]
        found = find_experiment(client, name)
        if found is None or found.lifecycle_stage != mlflow_resources.ACTIVE:
            names = [one.name for one in list_experiments(client)]
            raise ValueError(mlflow_resources.unknown("experiment", "experiment", name, names))
        return Resource(EXPERIMENT, found.experiment_id)
    name = params["registered_model"]
    model = find_model(client, name)
    if model is None:
        names = [one.name for one in list_models(client)]
        raise ValueError(mlflow_resources.unknown("registered_model", "registered model", name, names))
    if model.tags.get(PROMPT_TAG, "").lower() == "true":
        raise ValueError(
            f"registered_model: {name!r} is a prompt, and MLflow keeps permissions on prompts apart; grant it in"
            " MLflow's own pages"
        )
    return Resource(REGISTERED_MODEL, name)


def find_leftover(client: Client, params: t.Mapping[str, t.Any]) -> Resource | None:
    """As `find`, for taking something away: deleted experiments count, and what is not there is None or known by its
    ID alone."""
    if params.get("experiment_id"):
        return Resource(EXPERIMENT, params["experiment_id"])
    if params.get("experiment"):
        found = find_experiment(client, params["experiment"])
        return None if found is None else Resource(EXPERIMENT, found.experiment_id)
    return Resource(REGISTERED_MODEL, params["registered_model"])
