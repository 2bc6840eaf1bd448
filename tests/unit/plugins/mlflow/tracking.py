# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Experiments, runs, artifacts and registered models as MLflow 2.18 and 3.17 keep them in a database, in memory, so that a
copy can be broken off at every single request. The integration tests run the same modules between those servers."""

from __future__ import annotations

import itertools
import json
import math
import re
import typing as t
from urllib.parse import unquote

from .conftest import ARTIFACTS, HTML_404, HttpServer, Reply, Request, json_reply, refusal

LOGIN = ("admin", "the-admin-has-this-one")
_TAG = re.compile(r"tags\.`(?P<key>[^`]+)` = (?P<quote>['\"])(?P<value>.*)(?P=quote)")


def missing(what: str) -> Reply:
    return refusal(404, "RESOURCE_DOES_NOT_EXIST", f"{what} not found")


def refused(message: str) -> Reply:
    return refusal(400, "INVALID_PARAMETER_VALUE", message)


class Broken(t.NamedTuple):
    """The connection is cut at write number `at`: before it is done, or after."""

    at: int
    done: bool


class Tracking:
    """One server. `ids` begins every ID that it gives, `page` is the most that an answer lists."""

    def __init__(
        self, http: HttpServer, version: str = "3.17.2", ids: str = "a", login: bool = True, page: int = 3
    ) -> None:
        self.http, self.version, self.ids, self.login, self.page = http, version, ids, login, page
        self.token = ""
        self.numbers = itertools.count(1)
        self.experiments: dict[str, dict[str, t.Any]] = {}
        self.runs: dict[str, dict[str, t.Any]] = {}
        self.logged: dict[str, dict[str, t.Any]] = {}
        self.models: dict[str, dict[str, t.Any]] = {}
        self.files: dict[str, bytes] = {}
        self.traces: dict[str, int] = {}
        self.root = "mlflow-artifacts:/"
        self.writes = 0
        self.broken: Broken | None = None
        self.override: dict[str, t.Any] = {}
        self.new_experiment("Default", "0")
        http.behave = self.behave

    @property
    def new(self) -> bool:
        return self.version.startswith("3")

    # --- what tests fill it with ------------------------------------------------------------------------------------

    def new_experiment(self, name: str, identity: str = "", tags: dict | None = None, stage: str = "active") -> str:
        identity = identity or str(next(self.numbers))
        self.experiments[identity] = {
            "experiment_id": identity, "name": name, "lifecycle_stage": stage, "tags": dict(tags or {}),
            "artifact_location": f"{self.root}{identity}",
        }  # fmt: skip
        return identity

    def new_run(self, experiment_id: str, name: str = "a run", tags: dict | None = None, **info: t.Any) -> str:
        identity = f"{self.ids}{next(self.numbers):031x}"
        self.runs[identity] = {
            "info": {
                "run_id": identity, "experiment_id": experiment_id, "run_name": name, "status": "RUNNING",
                "lifecycle_stage": "active", "artifact_uri": f"{self.root}{experiment_id}/{identity}/artifacts", **info,
            },
            "metrics": {}, "params": {}, "tags": {"mlflow.runName": name, **(tags or {})}, "datasets": [], "inputs": [], "outputs": [],
        }  # fmt: skip
        return identity

    def new_logged(self, experiment_id: str, run_id: str, name: str, tags: dict | None = None, **more: t.Any) -> str:
        identity = f"m-{self.ids}{next(self.numbers):031x}"
        self.logged[identity] = {
            "info": {
                "model_id": identity, "experiment_id": experiment_id, "source_run_id": run_id, "name": name,
                "status": "LOGGED_MODEL_PENDING", "artifact_uri": f"{self.root}{experiment_id}/models/{identity}/artifacts", **more,
            },
            "params": {}, "tags": dict(tags or {}), "metrics": [],
        }  # fmt: skip
        return identity

    def put(self, owner: str, path: str, data: bytes) -> None:
        found = self.runs.get(owner) or self.logged[owner]
        self.files[f"{self._folder(found)}/{path}"] = data

    def _folder(self, owner: dict) -> str:
        return owner["info"]["artifact_uri"].split(":/", 1)[1]

    def log(self, run_id: str, *points: tuple[str, float, int, int]) -> None:
        for key, value, timestamp, step in points:
            number = "NaN" if math.isnan(value) else max(min(value, 1.7976931348623157e308), -1.7976931348623157e308)
            self.runs[run_id]["metrics"][(key, timestamp, step, number)] = None

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def behave(self, request: Request) -> Reply:
        writes = request.method != "GET" and not request.path.endswith("/search")
        if writes:
            self.writes += 1
            if self.broken and self.writes == self.broken.at:
                if self.broken.done:
                    self.answer(request)
                return Reply(reset=True)
        return self.answer(request)

    def allowed(self, request: Request) -> bool:
        if self.token:
            return request.headers.get("authorization") == f"Bearer {self.token}"
        return not self.login or request.login == LOGIN

    def answer(self, request: Request) -> Reply:
        path = request.path
        told = self.override.get(path)
        if told is not None:
            reply = told(request) if callable(told) else told
            if reply is not None:
                return reply
        if not self.allowed(request):
            return Reply(401, b"You are not authenticated.")
        if path == "/version":
            return Reply(200, self.version.encode())
        if path == "/get-artifact":
            return self.download(f"{self._folder(self.runs[request.query['run_id']])}/{request.query['path']}")
        if path.startswith(ARTIFACTS):
            self.files[unquote(path[len(ARTIFACTS) + 1 :])] = request.data
            return json_reply({})
        match = re.fullmatch(r"/(?:ajax-)?api/([23])\.0/mlflow/(.*)", path)
        if not match or (match.group(1) == "3" and not self.new):
            return HTML_404
        name, asked = match.group(2), request.query if request.method == "GET" else request.json
        if name.startswith("logged-models"):
            return self.logged_models(request, name.split("/")[1:], asked) if self.new else HTML_404
        if name == "metrics/get-history-bulk":
            asked = {**asked, "run_ids": request.several["run_id"]}
        handler = getattr(self, re.sub(r"[/-]", "_", name), None)
        return handler(asked) if handler else HTML_404

    def listed(self, key: str, found: list, asked: dict) -> Reply:
        start = int(asked.get("page_token") or 0)
        token = {"next_page_token": str(start + self.page)} if start + self.page < len(found) else {}
        return json_reply({key: found[start : start + self.page], **token} if found else {})

    def download(self, path: str) -> Reply:
        return Reply(200, self.files[path]) if path in self.files else Reply(404, b"no such artifact")

    def listing(self, owner: dict, folder: str, asked: dict) -> Reply:
        base = f"{self._folder(owner)}/"
        begin = base + (f"{folder}/" if folder else "")
        found: dict[str, dict] = {}
        for path, data in self.files.items():
            if path.startswith(begin):
                head, _slash, rest = path[len(begin) :].partition("/")
                full = begin[len(base) :] + head
                found[full] = (
                    {"path": full, "is_dir": True} if rest else {"path": full, "is_dir": False, "file_size": len(data)}
                )
        return self.listed("files", list(found.values()), asked)

    # --- experiments and runs -----------------------------------------------------------------------------------------

    def experiment(self, one: dict) -> dict:
        return {**one, "tags": [{"key": key, "value": value} for key, value in one["tags"].items()]}

    def experiments_search(self, asked: dict) -> Reply:
        view = asked.get("view_type", "ACTIVE_ONLY").split("_")[0].lower()
        found = [self.experiment(one) for one in self.experiments.values() if view in ("all", one["lifecycle_stage"])]
        return self.listed("experiments", found, asked)

    def experiments_get(self, asked: dict) -> Reply:
        found = self.experiments.get(asked["experiment_id"])
        return json_reply({"experiment": self.experiment(found)}) if found else missing("experiment")

    def experiments_create(self, asked: dict) -> Reply:
        if any(one["name"] == asked["name"] for one in self.experiments.values()):
            return refusal(400, "RESOURCE_ALREADY_EXISTS", "the experiment already exists")
        tags = {one["key"]: one["value"] for one in asked.get("tags", [])}
        return json_reply({"experiment_id": self.new_experiment(asked["name"], tags=tags)})

    def experiments_set_experiment_tag(self, asked: dict) -> Reply:
        if self.experiments[asked["experiment_id"]]["lifecycle_stage"] == "deleted":
            return refused("the experiment must be active")
        self.experiments[asked["experiment_id"]]["tags"][asked["key"]] = asked["value"]
        return json_reply({})

    def _stage(self, asked: dict, stage: str) -> Reply:
        self.experiments[asked["experiment_id"]]["lifecycle_stage"] = stage
        for run in self.runs.values():
            if run["info"]["experiment_id"] == asked["experiment_id"]:
                run["info"]["lifecycle_stage"] = stage
        return json_reply({})

    def experiments_delete(self, asked: dict) -> Reply:
        return self._stage(asked, "deleted")

    def experiments_restore(self, asked: dict) -> Reply:
        return self._stage(asked, "active")

    def run(self, one: dict) -> dict:
        latest: dict[str, tuple] = {}
        for key, timestamp, step, value in one["metrics"]:
            if key not in latest or (step, timestamp) >= latest[key][:2]:
                latest[key] = (step, timestamp, value)
        return {
            "info": one["info"],
            "data": {
                "metrics": [{"key": key, "value": value, "timestamp": at, "step": step} for key, (step, at, value) in latest.items()],
                "params": [{"key": key, "value": value} for key, value in one["params"].items()],
                "tags": [{"key": key, "value": value} for key, value in one["tags"].items()],
            },
            "inputs": {"dataset_inputs": one["datasets"], "model_inputs": one["inputs"]},
            "outputs": {"model_outputs": one["outputs"]},
        }  # fmt: skip

    def runs_search(self, asked: dict) -> Reply:
        view = asked.get("run_view_type", "ACTIVE_ONLY").split("_")[0].lower()
        found = [
            one
            for one in self.runs.values()
            if one["info"]["experiment_id"] in asked["experiment_ids"]
            and view in ("all", one["info"]["lifecycle_stage"])
        ]
        if asked.get("filter"):
            wanted = _TAG.fullmatch(asked["filter"])
            assert wanted, asked["filter"]
            found = [one for one in found if one["tags"].get(wanted["key"]) == wanted["value"]]
        return self.listed("runs", [self.run(one) for one in found], asked)

    def runs_get(self, asked: dict) -> Reply:
        found = self.runs.get(asked["run_id"])
        return json_reply({"run": self.run(found)}) if found else missing("run")

    def runs_create(self, asked: dict) -> Reply:
        if self.experiments[asked["experiment_id"]]["lifecycle_stage"] == "deleted":
            return refused("the experiment must be active")
        tags = {one["key"]: one["value"] for one in asked.get("tags", [])}
        more = {key: asked[key] for key in ("user_id", "start_time") if key in asked}
        identity = self.new_run(asked["experiment_id"], asked.get("run_name") or "made-up-name", tags, **more)
        return json_reply({"run": self.run(self.runs[identity])})

    def _active(self, run_id: str) -> dict | None:
        found = self.runs[run_id]
        return found if found["info"]["lifecycle_stage"] == "active" else None

    def runs_update(self, asked: dict) -> Reply:
        found = self._active(asked["run_id"])
        if not found:
            return refused("the run must be active")
        found["info"].update({key: asked[key] for key in ("status", "end_time", "run_name") if key in asked})
        return json_reply({"run_info": found["info"]})

    def runs_delete(self, asked: dict) -> Reply:
        self.runs[asked["run_id"]]["info"]["lifecycle_stage"] = "deleted"
        return json_reply({})

    def runs_restore(self, asked: dict) -> Reply:
        self.runs[asked["run_id"]]["info"]["lifecycle_stage"] = "active"
        return json_reply({})

    def runs_delete_tag(self, asked: dict) -> Reply:
        found = self._active(asked["run_id"])
        if not found or found["tags"].pop(asked["key"], None) is None:
            return missing("tag")
        return json_reply({})

    def runs_log_batch(self, asked: dict) -> Reply:
        found = self._active(asked["run_id"])
        parts = [asked.get(kind, []) for kind in ("metrics", "params", "tags")]
        if (
            not found
            or len(json.dumps(asked)) > 1e6
            or any(len(part) > most for part, most in zip(parts, (1000, 100, 100)))
        ):
            return refused("the run must be active, and the batch within the limits")
        for one in parts[1]:
            if found["params"].setdefault(one["key"], one["value"]) != one["value"]:
                return refused("changing param values is not allowed")
        for one in parts[0]:
            point = (one["key"], one["timestamp"], one["step"], one["value"])
            if not self.new and one["value"] == "NaN" and point in found["metrics"]:
                return refusal(500, "INTERNAL_ERROR", "duplicate key value violates unique constraint")
            found["metrics"][point] = None
            if one.get("model_id"):
                entry = {**one, "run_id": asked["run_id"]}
                if entry not in self.logged[one["model_id"]]["metrics"]:
                    self.logged[one["model_id"]]["metrics"].append(entry)
        found["tags"].update({one["key"]: one["value"] for one in parts[2]})
        return json_reply({})

    def runs_log_inputs(self, asked: dict) -> Reply:
        found = self._active(asked["run_id"])
        if not found or any(one in found["inputs"] for one in asked.get("models", [])):
            return refusal(500, "INTERNAL_ERROR", "duplicate key value violates unique constraint")
        having = [(one["dataset"]["name"], one["dataset"]["digest"]) for one in found["datasets"]]
        found["datasets"] += [
            one for one in asked.get("datasets", []) if (one["dataset"]["name"], one["dataset"]["digest"]) not in having
        ]
        found["inputs"] += asked.get("models", [])
        return json_reply({})

    def runs_outputs(self, asked: dict) -> Reply:
        found = self._active(asked["run_id"])
        if not found or any(one in found["outputs"] for one in asked["models"]):
            return refusal(500, "INTERNAL_ERROR", "duplicate key value violates unique constraint")
        found["outputs"] += asked["models"]
        return json_reply({})

    def artifacts_list(self, asked: dict) -> Reply:
        return self.listing(self.runs[asked["run_id"]], asked.get("path", ""), asked)

    def _history(self, run_id: str, key: str) -> list[dict]:
        return [
            {"key": key, "value": value, "timestamp": at, "step": step, "run_id": run_id}
            for name, at, step, value in self.runs[run_id]["metrics"] if name == key
        ]  # fmt: skip

    def metrics_get_history(self, asked: dict) -> Reply:
        return self.listed("metrics", self._history(asked["run_id"], asked["metric_key"]), asked)

    def metrics_get_history_bulk(self, asked: dict) -> Reply:
        return json_reply(
            {"metrics": [one for run_id in asked["run_ids"] for one in self._history(run_id, asked["metric_key"])]}
        )

    def traces_search(self, asked: dict) -> Reply:
        place = asked["locations"][0]["mlflow_experiment"]["experiment_id"]
        return self.listed("traces", [{}] * self.traces.get(place, 0), asked)

    def datasets_search(self, asked: dict) -> Reply:
        return refusal(400, "FEATURE_DISABLED", "not in a file store")

    def scorers_list(self, _asked: dict) -> Reply:
        return json_reply({})

    # --- logged models ------------------------------------------------------------------------------------------------

    def logged_model(self, one: dict) -> dict:
        tags, params = (
            [{"key": key, "value": value} for key, value in one[kind].items()] for kind in ("tags", "params")
        )
        return {"info": {**one["info"], "tags": tags}, "data": {"params": params, "metrics": one["metrics"]}}

    def logged_models(self, request: Request, parts: list[str], asked: dict) -> Reply:
        if parts == ["search"]:
            found = [one for one in self.logged.values() if one["info"]["experiment_id"] in asked["experiment_ids"]]
            if asked.get("filter"):
                wanted = _TAG.fullmatch(asked["filter"])
                assert wanted, asked["filter"]
                found = [one for one in found if one["tags"].get(wanted["key"]) == wanted["value"]]
            return self.listed("models", [self.logged_model(one) for one in found], asked)
        if not parts:
            tags, params = ({one["key"]: one["value"] for one in asked[kind]} for kind in ("tags", "params"))
            more = {"model_type": asked["model_type"]}
            identity = self.new_logged(asked["experiment_id"], asked["source_run_id"], asked["name"], tags, **more)
            self.logged[identity]["params"] = params
            return json_reply({"model": self.logged_model(self.logged[identity])})
        one = self.logged.get(parts[0])
        if not one:
            return missing("logged model")
        if parts[1:] == ["artifacts", "directories"]:
            return self.listing(one, asked.get("artifact_directory_path", ""), asked)
        if parts[1:] == ["artifacts", "files"]:
            return self.download(f"{self._folder(one)}/{asked['artifact_file_path']}")
        if parts[1:] == ["tags"]:
            one["tags"].update({tag["key"]: tag["value"] for tag in asked["tags"]})
        elif request.method == "PATCH":
            one["info"]["status"] = {2: "LOGGED_MODEL_READY", 3: "LOGGED_MODEL_UPLOAD_FAILED"}[asked["status"]]
        return json_reply({"model": self.logged_model(one)})

    # --- registered models --------------------------------------------------------------------------------------------

    def registered(self, one: dict) -> dict:
        return {
            "name": one["name"], "description": one["description"],
            "tags": [{"key": key, "value": value} for key, value in one["tags"].items()],
            "aliases": [{"alias": alias, "version": version} for alias, version in one["aliases"].items()],
        }  # fmt: skip

    def registered_models_search(self, asked: dict) -> Reply:
        found = list(self.models.values())
        prompts = [one for one in found if one["tags"].get("mlflow.prompt.is_prompt") == "true"]
        if asked.get("filter"):
            found = prompts
        elif self.new:
            found = [one for one in found if one not in prompts]
        return self.listed("registered_models", [self.registered(one) for one in found], asked)

    def registered_models_get(self, asked: dict) -> Reply:
        found = self.models.get(asked["name"])
        return json_reply({"registered_model": self.registered(found)}) if found else missing("model")

    def registered_models_create(self, asked: dict) -> Reply:
        if asked["name"] in self.models or (self.new and "/" in asked["name"]):
            return refused("the model exists, or its name is not valid")
        tags = {one["key"]: one["value"] for one in asked.get("tags", [])}
        self.models[asked["name"]] = {
            "name": asked["name"], "description": asked.get("description", ""), "tags": tags, "aliases": {}, "versions": {},
            "next": 1,
        }  # fmt: skip
        return json_reply({"registered_model": self.registered(self.models[asked["name"]])})

    def registered_models_update(self, asked: dict) -> Reply:
        self.models[asked["name"]]["description"] = asked["description"]
        return json_reply({})

    def registered_models_set_tag(self, asked: dict) -> Reply:
        self.models[asked["name"]]["tags"][asked["key"]] = asked["value"]
        return json_reply({})

    def registered_models_alias(self, asked: dict) -> Reply:
        if asked["version"] not in self.models[asked["name"]]["versions"]:
            return missing("version")
        self.models[asked["name"]]["aliases"][asked["alias"]] = asked["version"]
        return json_reply({})

    def version_answer(self, one: dict) -> dict:
        return {**one, "tags": [{"key": key, "value": value} for key, value in one["tags"].items()]}

    def model_versions_search(self, asked: dict) -> Reply:
        name = re.fullmatch(r"name = (['\"])(.*)\1", asked["filter"])
        found = list(self.models[name.group(2)]["versions"].values()) if name and name.group(2) in self.models else []
        return self.listed("model_versions", [self.version_answer(one) for one in found], asked)

    def model_versions_create(self, asked: dict) -> Reply:
        model, tags = self.models[asked["name"]], {one["key"]: one["value"] for one in asked.get("tags", [])}
        run, logged = self.runs.get(asked.get("run_id", "")), self.logged.get(asked.get("model_id", ""))
        roots = [one["info"]["artifact_uri"] for one in (run, logged) if one]
        source = asked["source"]
        proxied = source.startswith("mlflow-artifacts:") and not any(source.startswith(root) for root in roots)
        if proxied and tags.get("mlflow.prompt.is_prompt") != "true":
            return refused("invalid model version source")
        number = str(model["next"])
        model["next"] += 1
        model["versions"][number] = {
            "name": asked["name"], "version": number, "source": source, "run_id": asked.get("run_id", ""),
            "model_id": asked.get("model_id", ""), "description": asked.get("description", ""), "current_stage": "None",
            "run_link": asked.get("run_link", ""), "tags": tags,
        }  # fmt: skip
        return json_reply({"model_version": self.version_answer(model["versions"][number])})

    def _version(self, asked: dict) -> dict:
        return self.models[asked["name"]]["versions"][asked["version"]]

    def model_versions_delete(self, asked: dict) -> Reply:
        found = self.models[asked["name"]]["versions"].pop(asked["version"], None)
        return json_reply({}) if found else missing("version")

    def model_versions_update(self, asked: dict) -> Reply:
        self._version(asked)["description"] = asked["description"]
        return json_reply({})

    def model_versions_transition_stage(self, asked: dict) -> Reply:
        self._version(asked)["current_stage"] = asked["stage"]
        return json_reply({})

    def model_versions_set_tag(self, asked: dict) -> Reply:
        self._version(asked)["tags"][asked["key"]] = asked["value"]
        return json_reply({})
