# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mlflow_experiment_copy, mlflow_registered_model_copy and mlflow_content_info between two servers in memory, broken off at
every request that writes."""

from __future__ import annotations

import pytest
from ansible_collections.mlops.mlflow_aws.plugins.module_utils import mlflow_copy_reads, mlflow_copy_servers
from ansible_collections.mlops.mlflow_aws.plugins.modules import (
    mlflow_content_info,
    mlflow_experiment_copy,
    mlflow_registered_model_copy,
)

from .conftest import HTML_404, HttpServer, Reply, json_reply
from .tracking import LOGIN, Broken, Tracking

NAN = float("nan")


class Servers:
    """A source, filled with a little of everything, and empty destinations."""

    def __init__(self, run_module) -> None:
        self.run_module = run_module
        self.opened: list[HttpServer] = []
        self.source = self.open("a", login=False)
        self.target = self.open("b")
        self.fill()

    def open(self, ids, version="3.17.2", login=True):
        self.opened.append(HttpServer())
        return Tracking(self.opened[-1], version, ids, login)

    def fill(self):
        source = self.source
        self.experiment = source.new_experiment("churn", tags={"team": "a"})
        self.parent = source.new_run(
            self.experiment, "parent", {"ä": "ü"}, user_id="ada", start_time=1000, end_time=2000
        )
        source.log(self.parent, *(("loss", 1 / step, 1000 + step, step) for step in range(1, 5)))
        source.log(self.parent, ("odd", NAN, 1, 0), ("odd", float("inf"), 1, 1))
        source.runs[self.parent]["params"]["depth"] = "3"
        source.runs[self.parent]["datasets"].append(
            {"dataset": {"name": "d", "digest": "1", "source_type": "local", "source": "x"}}
        )
        source.put(self.parent, "model/weights ü.bin", b"w" * 5000)
        source.put(self.parent, "empty", b"")
        self.child = source.new_run(self.experiment, "child", {"mlflow.parentRunId": self.parent}, start_time=1500)
        source.log(self.child, ("loss", 2.0, 1500, 0))
        gone = source.new_run(self.experiment, "gone", start_time=1600)
        source.runs[gone]["info"]["lifecycle_stage"] = "deleted"
        self.logged = source.new_logged(self.experiment, self.parent, "upper", {"kind": "b"}, model_type="t")
        one = source.logged[self.logged]
        one["info"]["status"] = "LOGGED_MODEL_READY"
        one["params"]["depth"] = "3"
        one["metrics"].append(
            {"key": "loss", "value": 0.25, "timestamp": 1004, "step": 4, "run_id": self.parent, "model_id": self.logged}
        )
        source.put(self.logged, "MLmodel", b"flavors: {}")
        source.runs[self.parent]["outputs"].append({"model_id": self.logged, "step": 4})
        source.runs[self.child]["inputs"].append({"model_id": self.logged})
        root = source.runs[self.parent]["info"]["artifact_uri"]
        self.register("champion 'x'", [
            {"source": f"{root}/model", "run_id": self.parent}, None,
            {"source": f"models:/{self.logged}", "run_id": self.parent, "model_id": self.logged, "current_stage": "Staging"},
        ])  # fmt: skip
        self.register("derived", [{"source": "models:/champion 'x'/3", "run_id": self.parent}])

    def register(self, name, versions, tags=None):
        self.source.registered_models_create({"name": name, "description": "d", "tags": [{"key": "t", "value": "1"}]})
        model = self.source.models[name]
        model["tags"].update(tags or {})
        for number, version in enumerate(versions, 1):
            if version:
                body = {
                    "run_id": "",
                    "model_id": "",
                    "description": f"v{number}",
                    "current_stage": "None",
                    "run_link": "",
                    "tags": {"n": "1"},
                }
                model["versions"][str(number)] = {**body, "name": name, "version": str(number), **version}
                model["aliases"] = {"champion": str(number)}

    @property
    def connection(self):
        login = {"tracking_uri": self.target.http.url, "username": LOGIN[0], "password": LOGIN[1]}
        return login | {"source_tracking_uri": self.source.http.url, "source_name": "laptop", "retry_timeout": 0}

    def experiment_copy(self, check=False, **options):
        return self.run_module(mlflow_experiment_copy, self.connection | ({"name": "churn"} | options), check)

    def model_copy(self, name="champion 'x'", check=False, **options):
        return self.run_module(mlflow_registered_model_copy, self.connection | {"name": name} | options, check)

    def digests(self, **options):
        """Of the source, and of the copy."""
        there = {
            "tracking_uri": self.target.http.url,
            "username": LOGIN[0],
            "password": LOGIN[1],
            "copied_from": "laptop",
        }
        both = [self.run_module(mlflow_content_info, one | {"detail": "hashes"} | options) for one in (
            {"tracking_uri": self.source.http.url}, there)]  # fmt: skip
        assert "failed" not in both[0] and "failed" not in both[1], both
        return both[0]["digests"], both[1]["digests"]

    def everything(self):
        """Copies all there is; the results."""
        results = [self.experiment_copy(with_deleted=True), self.model_copy(), self.model_copy("derived")]
        failed = [one["msg"] for one in results if one.get("failed")]
        return results, failed


@pytest.fixture
def servers(run_module):
    found = Servers(run_module)
    yield found
    for one in found.opened:
        one.close()


def test_everything_is_carried(servers):
    foretold = [servers.experiment_copy(check=True, with_deleted=True)]
    expected = {"expected_experiments": ["churn"], "with_deleted": True}
    foretold += [servers.model_copy(check=True, **expected), servers.model_copy("derived", check=True, **expected)]
    assert servers.target.writes == 0
    results, failed = servers.everything()
    assert failed == []
    for before, after in zip(foretold, results):
        assert before["changes"] == after["changes"] and before["left_out"] == after["left_out"] == []
    here, there = servers.digests(with_deleted=True)
    here.pop("run 0", None)
    assert here == there and len(here) == 14
    writes = servers.target.writes
    results, failed = servers.everything()
    assert failed == [] and not any(one["changed"] for one in results) and servers.target.writes == writes
    assert servers.source.writes == 0
    copied = foretold[0]["copied"]
    assert copied == {
        "runs": 3,
        "params": 1,
        "tags": 2,
        "metrics": 7,
        "datasets": 1,
        "logged_models": 1,
        "artifacts": 3,
        "artifact_bytes": 5011,
    }
    model = servers.target.models["champion 'x'"]
    assert list(model["versions"]) == ["1", "3"] and model["aliases"] == {"champion": "3"}
    new = results[0]["experiment"]
    assert model["versions"]["1"]["source"].endswith(f"{new['runs'][servers.parent]}/artifacts/model")
    assert model["versions"]["3"]["source"] == f"models:/{new['logged_models'][servers.logged]}"
    assert servers.target.models["derived"]["versions"]["1"]["source"] == "models:/champion 'x'/3"
    child = servers.target.runs[new["runs"][servers.child]]
    assert child["tags"]["mlflow.parentRunId"] == new["runs"][servers.parent]


@pytest.mark.parametrize("done", [False, True])
def test_a_copy_that_is_broken_off_anywhere_is_completed(servers, done):
    """Every request that writes fails once, by turns before and after the destination has done it; another run mends all."""
    assert servers.everything()[1] == []
    wanted, writes = servers.digests(with_deleted=True)[1], servers.target.writes
    assert writes > 30
    # Every other one; those in between break off after the destination has done it.
    for at in range(2 - done, writes + 1, 2):
        servers.target = servers.open("b")
        servers.target.broken = Broken(at, done)
        _results, failed = servers.everything()
        assert failed, at
        _results, failed = servers.everything()
        assert failed == [], at
        target = servers.target
        assert servers.digests(with_deleted=True)[1] == wanted, at
        assert len(target.runs) == 3 and len(target.logged) == 1 and len(target.experiments) == 2, at
        assert [len(one["versions"]) for one in target.models.values()] == [2, 1], at
        before = target.writes
        assert not any(one["changed"] for one in servers.everything()[0]) and target.writes == before, at
        servers.opened.pop().close()


def test_a_source_that_goes_on_is_followed(servers):
    servers.everything()
    source, target = servers.source, servers.target
    source.log(servers.child, ("loss", 1.0, 1600, 1), ("odd", NAN, 1, 0))
    source.runs[servers.child]["info"].update(status="FINISHED", end_time=1700)
    source.runs[servers.child]["tags"]["later"] = "yes"
    source.experiments[servers.experiment]["tags"]["team"] = "b"
    source.models["champion 'x'"]["description"] = "new"
    source.models["champion 'x'"]["tags"]["t"] = "2"
    source.models["champion 'x'"]["versions"]["1"].update(current_stage="Archived", description="old", tags={"n": "2"})
    new = source.new_run(servers.experiment, "new", start_time=1800)
    results, failed = servers.everything()
    assert failed == [] and [one["action"] for one in results[0]["changes"]] == ["set_tag", "copy_run", "finish_run"]
    assert [one["action"] for one in results[1]["changes"]] == ["set_description", "set_tag", "change_version"]
    here, there = servers.digests(with_deleted=True)
    assert here == there and new in results[0]["experiment"]["runs"]
    del source.runs[servers.child]["tags"]["later"]
    assert servers.everything()[1] == []
    here, there = servers.digests(with_deleted=True)
    assert here == there and len(target.runs) == 4


def test_deleted_things_come_and_go(servers):
    source, target = servers.source, servers.target
    assert len(servers.experiment_copy()["experiment"]["runs"]) == 2
    source.runs[servers.child]["info"]["lifecycle_stage"] = "deleted"
    done = servers.experiment_copy(with_deleted=True)
    assert [one["action"] for one in done["changes"]] == ["copy_run", "delete_run"]
    source.experiments_delete({"experiment_id": servers.experiment})
    assert "is deleted at the source; say with_deleted" in servers.experiment_copy()["msg"]
    done = servers.experiment_copy(with_deleted=True)
    assert [one["action"] for one in done["changes"]] == ["delete_experiment"]
    assert not servers.experiment_copy(with_deleted=True)["changed"]
    late = source.new_run(servers.experiment, "late")
    source.runs[late]["info"]["lifecycle_stage"] = "deleted"
    done = servers.experiment_copy(with_deleted=True)
    assert [one["action"] for one in done["changes"]] == ["restore_experiment", "copy_run", "delete_experiment"]
    assert all(one["info"]["lifecycle_stage"] == "deleted" for one in target.runs.values())
    source.experiments_restore({"experiment_id": servers.experiment})
    source.runs[late]["info"]["lifecycle_stage"] = "deleted"
    done = servers.experiment_copy(with_deleted=True)
    assert [one["action"] for one in done["changes"]] == ["restore_experiment", "delete_run"]
    assert not servers.experiment_copy(with_deleted=True)["changed"]
    source.runs[late]["info"]["lifecycle_stage"] = "active"
    assert [one["action"] for one in servers.experiment_copy()["changes"]] == ["restore_run"]


def test_the_default_experiment_is_that_of_the_destination(servers):
    servers.source.new_run("0", "by default")
    servers.source.experiments["0"]["lifecycle_stage"] = "deleted"
    servers.target.experiments["0"]["name"] = "Standard"
    servers.target.new_run("0", "another's")
    options = servers.connection | {"experiment_id": "0", "with_deleted": True}
    done = servers.run_module(mlflow_experiment_copy, options)
    assert done["experiment"]["name"] == "Standard" and [one["action"] for one in done["changes"]] == ["copy_run"]
    assert len(servers.target.runs) == 2 and servers.target.experiments["0"]["lifecycle_stage"] == "active"
    servers.source.experiments["0"]["lifecycle_stage"] = "active"
    here, there = servers.digests(experiments=["Default", "Standard"], registered_models=[])
    assert here == there and len(here) == 1


def test_names_that_the_destination_has_for_something_else(servers):
    target = servers.target
    target.new_experiment("churn", stage="deleted")
    target.registered_models_create({"name": "champion 'x'"})
    for check in (True, False):
        assert "has a deleted experiment of that name" in servers.experiment_copy(check=check)["msg"]
        assert "has a registered model of that name" in servers.model_copy(check=check)["msg"]
    assert target.writes == 0
    for skipped in (servers.experiment_copy(on_clash="skip"), servers.model_copy(on_clash="skip")):
        assert not skipped["changed"] and "is left out" in skipped["losses"][0]
    assert servers.experiment_copy(on_clash="skip")["experiment"] is None
    assert servers.experiment_copy(on_clash="rename")["experiment"]["name"] == "churn-migrated"
    assert servers.model_copy(on_clash="rename")["registered_model"]["name"] == "champion 'x'-migrated"
    # What has once been copied is known by its marks, whatever it is called.
    assert not servers.experiment_copy()["changed"] and not servers.model_copy()["changed"]
    here, there = servers.digests(registered_models=["champion*"])
    assert here == there


def test_names_can_be_given(servers):
    servers.source.version = "2.18.0"
    servers.register("with/slash", [])
    servers.source.version = "3.17.2"
    assert "holds /, which MLflow 3 refuses" in servers.model_copy("with/slash")["msg"]
    done = servers.model_copy("with/slash", destination_name="without")
    assert done["registered_model"]["name"] == "without", done
    assert servers.experiment_copy(destination_name="other")["experiment"]["name"] == "other"


def test_versions_without_a_place_are_named_before_anything_is_written(servers):
    def version(**more):
        return {"source": "mlflow-artifacts:/9/x", "run_id": "", **more}

    servers.register("lost", [version(), {"source": "s3://bucket/model"}, version(source="models:/none/1")])
    assert "is not among the artifacts of a run or logged model" in servers.model_copy("lost")["msg"]
    assert f"its run {servers.parent} has not been copied" in servers.model_copy()["msg"]
    foretold = servers.model_copy(check=True, expected_experiments=["other"])
    assert "has not been copied; copy its experiment first" in foretold["msg"]
    assert servers.target.writes == 0
    done = servers.model_copy("lost", unplaced_versions="skip")
    assert done["registered_model"]["versions"] == {"2": "2"} and len(done["losses"]) == 4
    assert done["left_out"] == ["version lost/1", "version lost/3", "alias lost/champion"]
    assert "its files stay where they are, s3://bucket/model" in done["losses"][1]
    servers.source.runs.pop(servers.parent)
    servers.register("runless", [{"source": f"runs:/{servers.parent}/model"}])
    assert "has not been copied" in servers.model_copy("runless", check=True, expected_experiments=["churn"])["msg"]
    deleted = next(key for key, one in servers.source.runs.items() if one["info"]["run_name"] == "gone")
    servers.register("of the deleted", [{"source": f"runs:/{deleted}/model", "run_id": deleted}])
    options = {"name": "of the deleted", "check": True, "expected_experiments": ["churn"]}
    assert "has not been copied" in servers.model_copy(**options)["msg"]
    assert "msg" not in servers.model_copy(**options, with_deleted=True)


def test_an_older_destination_takes_what_it_can(servers):
    servers.target = servers.open("b", "2.18.0")
    done = servers.experiment_copy()
    assert "msg" not in done and any("need MLflow 3" in line for line in done["losses"])
    assert done["left_out"] == [f"logged_model {servers.logged}", f"ties {servers.parent}", f"ties {servers.child}"]
    assert not servers.experiment_copy()["changed"]
    here, there = servers.digests(registered_models=[])
    assert there == {key: value for key, value in here.items() if key not in done["left_out"]}
    assert "made of a logged model, which needs MLflow 3" in servers.model_copy()["msg"]
    servers.register("greeting", [{"source": "dummy"}], {"mlflow.prompt.is_prompt": "true"})
    assert "it is a prompt" in servers.model_copy("greeting")["losses"][0]


def test_an_older_source(servers):
    servers.source.version = "2.18.0"
    servers.source.override["/api/2.0/mlflow/traces"] = json_reply({"traces": [{}, {}]})
    done = servers.experiment_copy()
    assert done["losses"][0] == "experiment 'churn': its 2 traces stay behind, since MLflow has no way to carry them"
    assert any("logged models" in line for line in done["losses"]) and len(done["experiment"]["runs"]) == 2
    servers.source.override["/api/2.0/mlflow/traces"] = HTML_404
    assert not servers.experiment_copy()["changed"]
    servers.source.override["/api/2.0/mlflow/traces"] = Reply(500, b"broken")
    assert "HTTP 500" in servers.experiment_copy()["msg"]


def test_prompts_are_carried_with_their_gaps(servers):
    text = {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "Hello"}
    servers.register("greeting", [None, {"source": "dummy", "tags": text}], {"mlflow.prompt.is_prompt": "true"})
    done = servers.model_copy("greeting")
    assert done["registered_model"]["versions"] == {"2": "2"}
    assert not servers.model_copy("greeting")["changed"]
    assert servers.target.models["greeting"]["versions"]["2"]["source"] == "dummy"
    here, there = servers.digests(experiments=[], registered_models=["greeting"])
    assert here == there and len(here) == 3


def test_ties_that_are_lost_are_told(servers):
    source = servers.source
    stranger = source.new_experiment("other")
    source.new_run(stranger, "stray", {"mlflow.parentRunId": servers.parent})
    source.traces[stranger] = 7
    done = servers.experiment_copy(name="other")
    assert len(done["losses"]) == 2 and "7 traces" in done["losses"][0] and "its parent run" in done["losses"][1]


def test_what_the_destination_cannot_take_is_refused(servers):
    servers.source.put(servers.parent, "large", b"x" * (1024 * 1024 + 1))
    refused = servers.experiment_copy(largest_artifact_mib=1)
    assert "has 2 MiB, and the destination takes 1 MiB" in refused["msg"] and servers.target.writes == 0
    servers.target.experiments["0"]["artifact_location"] = "s3://bucket/0"
    assert "sends clients to s3: for artifacts and is no proxy" in servers.experiment_copy()["msg"]
    assert servers.target.writes == 0


def test_files_that_break_off(servers):
    path = f"{servers.source._folder(servers.source.runs[servers.parent])}/model/weights ü.bin"
    servers.source.override["/get-artifact"] = Reply(200, b"short")
    assert "has 5000 bytes and 5 came" in servers.experiment_copy()["msg"]
    servers.source.override["/get-artifact"] = Reply(404, b"gone")
    assert (
        "artifact 'empty' of run" in servers.experiment_copy()["msg"] or "weights" in servers.experiment_copy()["msg"]
    )
    servers.source.override.clear()
    folder = f"/api/2.0/mlflow-artifacts/artifacts/{servers.experiment}"
    servers.target.behave_before = servers.target.answer
    servers.target.http.behave = lambda request: (
        Reply(413, b"too large") if request.method == "PUT" else servers.target.behave_before(request)
    )
    assert "HTTP 413" in servers.experiment_copy()["msg"] and folder
    servers.target.http.behave = servers.target.behave
    assert "msg" not in servers.experiment_copy()
    assert path in servers.source.files


def test_a_token_that_expires_on_the_way(servers):
    servers.source.token = "a-token-of-the-source"
    wants = servers.experiment_copy(source_token=None)
    assert "wants a user name and a password, or a token" in wants["msg"]
    told = iter([None] * 4)
    servers.source.override["/get-artifact"] = lambda _request: next(told, Reply(401, b"expired"))
    servers.source.override["/api/2.0/mlflow/artifacts/list"] = lambda _request: next(told, Reply(401, b"expired"))
    stopped = servers.experiment_copy(source_token="a-token-of-the-source")
    assert "the server refuses this token; give a token that has not expired and run again" in stopped["msg"]
    assert "a-token-of" not in stopped["msg"]
    servers.source.override.clear()
    assert "msg" not in servers.experiment_copy(source_token="a-token-of-the-source")
    assert len(servers.target.runs) == 2


def test_two_copies_of_one_run_are_not_guessed_at(servers):
    done = servers.experiment_copy()
    twin = servers.target.new_run(
        done["experiment"]["experiment_id"], tags={"migration.source": "laptop", "migration.id": servers.parent}
    )
    assert f"two copies of run {servers.parent}" in servers.experiment_copy()["msg"]
    servers.target.runs_delete({"run_id": twin})
    assert not servers.experiment_copy()["changed"]


def test_refresh_copies_artifacts_again(servers):
    servers.everything()
    servers.source.put(servers.parent, "model/weights ü.bin", b"new")
    here, there = servers.digests()
    assert here != there
    done = servers.experiment_copy(refresh=True, with_deleted=True)
    assert {one["action"] for one in done["changes"]} == {"finish_run", "copy_logged_model"}
    here, there = servers.digests(with_deleted=True)
    assert here == there and len(servers.target.runs) == 3


def test_histories_are_read_one_by_one_where_they_must(servers):
    client = mlflow_copy_servers.Reader({
        "tracking_uri": servers.source.http.url, "username": None, "password": None, "token": None, "validate_certs": True,
        "timeout": 5, "retry_timeout": 0,
    })  # fmt: skip
    runs = mlflow_copy_reads.runs(client, [servers.experiment])
    wanted = mlflow_copy_reads.histories(client, runs)
    path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    full = [{"key": "loss", "value": 1, "run_id": servers.parent}] * mlflow_copy_reads.MOST_POINTS
    for told in (HTML_404, Reply(200, b"<html>"), json_reply({"metrics": full})):
        servers.source.override[path] = told
        assert mlflow_copy_reads.histories(client, runs) == wanted
    servers.source.override[path] = Reply(500, b"broken")
    with pytest.raises(Exception, match="500"):
        mlflow_copy_reads.histories(client, runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_tracking_uri": "localhost:5000"}, "source_tracking_uri: its scheme"),
        ({"source_username": "a:b", "source_password": "p"}, "source_username: 'a:b' holds a colon"),
        ({"source_token": ""}, "source_token: it is empty"),
        ({"source_token": "a token", "source_username": "u"}, "required together: source_username"),
        ({"max_parallel": 0}, "max_parallel: 0 requests at a time; give 1 to 64"),
        ({"requests_per_second": -1}, "requests_per_second: -1"),
        ({"largest_artifact_mib": -1}, "largest_artifact_mib: -1"),
        ({"name": "chrun"}, "did you mean 'churn'"),
        ({"timeout": 0}, "timeout: 0 seconds is too short"),
    ],
)
def test_bad_options(servers, options, message):
    assert message in servers.experiment_copy(**options)["msg"] and servers.target.writes == 0


def test_bad_logins_of_a_reader(servers, run_module):
    where = {"tracking_uri": servers.target.http.url, "retry_timeout": 0}
    assert "wants a user name" in run_module(mlflow_content_info, where)["msg"]
    reader = {"tracking_uri": "http://a", "validate_certs": True, "timeout": 1, "retry_timeout": 0}
    for bad in ({"token": "t", "username": "u"}, {"username": "u", "password": None}):
        with pytest.raises(ValueError, match="name"):
            mlflow_copy_servers.Reader({"token": None, "username": None, **reader, **bad})
    servers.source.override["/version"] = Reply(200, b"<html>")
    assert "the answer is no version of MLflow" in servers.experiment_copy()["msg"]
    assert "did you mean" in servers.model_copy("champion x")["msg"]


def test_counts_and_content(servers, run_module):
    where = {"tracking_uri": servers.source.http.url}
    counts = run_module(mlflow_content_info, where | {"with_deleted": True})
    assert counts["totals"]["runs"] == 3 and counts["totals"]["metrics"] is None and counts["digests"] == {}
    content = run_module(
        mlflow_content_info, where | {"with_deleted": True, "detail": "content", "requests_per_second": 1000}
    )
    totals = content["totals"]
    assert (
        totals["metrics"] == 7
        and totals["artifacts"] == 3
        and totals["artifact_bytes"] == 5011
        and totals["versions"] == 3
    )
    assert next(one for one in content["experiments"] if one["name"] == "churn")["largest_artifact"] == 5000
    assert run_module(mlflow_content_info, where | {"experiments": ["nothing"]})["experiments"] == []


def test_models_made_of_others_come_last(servers, run_module):
    servers.register("a", [{"source": "models:/derived/1", "run_link": "https://elsewhere"}])
    models = run_module(mlflow_content_info, {"tracking_uri": servers.source.http.url})["registered_models"]
    assert [one["name"] for one in models] == ["champion 'x'", "derived", "a"] and models[2]["made_of"] == ["derived"]
    assert servers.everything()[1] == []
    assert "msg" not in servers.model_copy("a")
    assert servers.target.models["a"]["versions"]["1"]["run_link"] == "https://elsewhere"


def test_artifacts_in_several_pages(servers):
    for number in range(10):
        servers.source.put(servers.parent, f"plots/{number}", b"x" * number)
    assert servers.experiment_copy()["copied"]["artifacts"] == 13
    here, there = servers.digests(registered_models=[])
    assert here == there


def test_artifacts_that_no_server_reads_are_told(servers):
    for path in ("plot #1.png", "a%20b", "folder #2/file", "c?"):
        servers.source.put(servers.parent, path, b"x")
    done = servers.experiment_copy()
    assert done["copied"]["artifacts"] == 3
    assert sorted(line.split("'")[1] for line in done["losses"]) == ["a%20b", "c?", "folder #2/", "plot #1.png"]
    here, there = servers.digests(registered_models=[])
    assert here == there


def test_owners_that_cannot_be_asked_for(servers):
    servers.register("modelless", [{"source": "models:/m-00"}])
    assert "its logged model m-00 has not been copied" in servers.model_copy("modelless")["msg"]
    for path in ("/api/2.0/mlflow/logged-models/m-00", "/api/2.0/mlflow/runs/get"):
        servers.source.override[path] = Reply(500, b"broken")
        assert "HTTP 500" in servers.model_copy("modelless" if "m-00" in path else "champion 'x'")["msg"]


def test_metrics_of_a_run_that_is_not_carried_are_not_a_logged_model_s(servers):
    entry = {"key": "loss", "value": 0.5, "timestamp": 1, "step": 1, "run_id": "elsewhere", "model_id": servers.logged}
    servers.source.logged[servers.logged]["metrics"].append(entry)
    servers.source.logged[servers.logged]["info"]["status"] = "LOGGED_MODEL_PENDING"
    done = servers.experiment_copy()
    there = servers.target.logged[done["experiment"]["logged_models"][servers.logged]]
    assert len(there["metrics"]) == 1 and there["info"]["status"] == "LOGGED_MODEL_PENDING"


def test_pace():
    now = [0.0]
    slept: list[float] = []
    pace = mlflow_copy_servers.Pace(10)
    assert mlflow_copy_servers.Pace(0)() is None
    pace_time = mlflow_copy_servers.time
    original = pace_time.monotonic, pace_time.sleep
    pace_time.monotonic, pace_time.sleep = (lambda: now[0]), slept.append
    try:
        for _request in range(3):
            pace()
        now[0] = 5.0
        pace()
    finally:
        pace_time.monotonic, pace_time.sleep = original
    assert slept == pytest.approx([0.0, 0.1, 0.2, 0.0])


def test_nothing_more_is_begun_after_a_failure():
    begun = []

    def act(number):
        begun.append(number)
        if number == 3:
            raise ValueError("third")

    with pytest.raises(ValueError, match="third"):
        mlflow_copy_servers.in_parallel(act, range(1000), 1)
    assert begun == [0, 1, 2, 3]
