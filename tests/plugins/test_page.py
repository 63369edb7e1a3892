"""The page in a real Airflow: who may see and change what, and that its numbers are the commands'."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from selfexplore_tasks.local_airflow import ROUND_DAG
from selfexplore_tasks.store.control import read_control

WAIT_S = 240
LOOKING = (
    "/api/me",
    "/api/experiments",
    "/api/experiments/mini",
    "/api/experiments/mini/problems",
    "/api/compare?left=mini:0&right=mini:1",
    "/api/recipes",
    "/api/recipes/arithmetic-tiny",
    "/api/sql/schema",
    "/api/sql/queries",
    "/api/sql/history",
    "/api/report/mini",
    "/openapi.json",
    "/static/index.html",
    "/",
)


def command(site: Any, *arguments: str) -> Any:
    """What `selfexplore … --json` prints."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "selfexplore"), *arguments, "--json"],
        env={**site.airflow.environment(), "SELFEXPLORE_HOME": str(site.store.root)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("user, may_change", [("admin", True), ("user", True), ("viewer", False)])
def test_the_page_knows_what_a_user_may_do(site: Any, user: str, may_change: bool) -> None:
    assert site.get("/api/me", user=user).json == {"name": user, "may_change": may_change}


@pytest.mark.parametrize("path", LOOKING)
def test_a_viewer_may_look_and_nobody_else(site: Any, path: str) -> None:
    assert site.get(path).status == 200
    stranger = site.send("GET", f"/selfexplore{path}")
    if path == "/":
        assert stranger.status == 307
        assert stranger.headers["location"].startswith("/auth/login?next=")
    else:
        assert (stranger.status, list(stranger.json)) == (401, ["detail"])
    assert site.send("GET", f"/selfexplore{path}", headers={"Authorization": "Bearer x.y.z"}).status in (307, 403)


@pytest.mark.parametrize("path", LOOKING)
def test_every_answer_keeps_the_browser_strict(site: Any, path: str) -> None:
    for reply in (site.get(path), site.send("GET", f"/selfexplore{path}")):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'self'" in policy or "default-src 'none'" in policy
        assert "script-src 'self'" in policy or "sandbox" in policy
        assert "unsafe-eval" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == ("no-cache" if "static" in path or path == "/" else "no-store") or (
            reply.status != 200
        )


def test_scores_are_those_of_the_command(site: Any) -> None:
    shown = site.get("/api/experiments/mini").json["accuracy"]
    rows = command(site, "scores", "--experiment", "mini")
    assert [(one["model_id"], one["split"], one["accuracy"], one["low"], one["high"]) for one in shown] == [
        (row["model_id"], row["split"], row["accuracy"], row["accuracy_low"], row["accuracy_high"]) for row in rows
    ]


def test_rounds_are_those_of_the_command(site: Any) -> None:
    shown = site.get("/api/experiments/mini").json
    rows = command(site, "rounds", "--experiment", "mini")
    for one, row in zip(shown["rounds"], rows, strict=True):
        assert {name: row.get(name, one[name]) for name in one} == one
    pairs = {step["step"]: step["count"] for step in shown["funnel"]}
    assert pairs["pairs"] == rows[1]["counts"]["granular_pairs_kept"]


def test_a_persons_decision_is_on_record_under_their_name(site: Any) -> None:
    paused = site.post("/api/experiments/mini/pause", {"why": "coffee"})
    assert (paused.status, paused.json["experiment"]["state"]) == (200, "paused")
    control = read_control(site.store, "mini")
    assert control is not None
    assert (control.state, control.who, control.why) == ("paused", "user", "coffee")
    cancelled = site.post("/api/experiments/mini/cancel", {"why": ""})
    assert cancelled.json["message"] == "mini is cancelled."
    refused = site.post("/api/experiments/mini/pause", {"why": ""})
    assert refused.status == 409
    assert "was cancelled by user" in refused.json["detail"]
    resumed = site.post("/api/experiments/mini/resume", {"why": ""}, user="admin")
    assert resumed.json["experiment"]["state"] != "cancelled"


def test_a_fork_can_be_made(site: Any) -> None:
    made = site.post("/api/experiments/mini/fork", {"round": 0, "new_name": "mini-fork"})
    assert (made.status, made.json["message"]) == (200, "mini-fork begins with round 1, as mini after round 0.")
    assert made.json["experiment"]["forked_from"] == "mini:0"
    again = site.post("/api/experiments/mini/fork", {"round": 0, "new_name": "mini-fork"})
    assert (again.status, "exists already" in again.json["detail"]) == (409, True)
    missing = site.post("/api/experiments/mini/fork", {"round": 9, "new_name": "other"})
    assert (missing.status, "not finished" in missing.json["detail"]) == (409, True)


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "fork"])
def test_a_viewer_may_change_nothing(site: Any, verb: str) -> None:
    before = read_control(site.store, "hand")
    body = {"round": 0, "new_name": "viewers"} if verb == "fork" else {"why": "x"}
    assert site.post(f"/api/experiments/hand/{verb}", body, user="viewer").status == 403
    assert read_control(site.store, "hand") == before
    assert not site.store.experiment_file("viewers").exists()


def test_a_token_needs_no_origin(site: Any) -> None:
    headers = {"Authorization": f"Bearer {site.token('user')}"}
    assert site.send("POST", "/selfexplore/api/experiments/mini/pause", "{}", headers).status == 200
    assert site.send("POST", "/selfexplore/api/experiments/mini/resume", "{}", headers).status == 200


def test_recipes_are_checked_as_one_types(site: Any) -> None:
    good = site.post("/api/recipes/check", {"recipe": "arithmetic-tiny", "overrides": {"sample.n": 4}}).json
    assert (good["ok"], len(good["recipe_hash"])) == (True, 12)
    bad = site.post("/api/recipes/check", {"recipe": "arithmetic-tiny", "overrides": {"sample.n": 0}}).json
    assert (bad["ok"], "sample.n must be" in bad["message"], bad["recipe_hash"]) == (False, True, None)
    own = site.post("/api/recipes/check", {"experiment": "hand", "overrides": {"max_rounds": 9}}).json
    assert own["ok"], "limits of a known experiment may grow"
    other = site.post("/api/recipes/check", {"experiment": "hand", "overrides": {"explore.k": 9}}).json
    assert (other["ok"], "explore.k" in other["message"]) == (False, True)
    fields = {field["path"]: field for field in site.get("/api/recipes/arithmetic-tiny").json["fields"]}
    assert (fields["sample.n"]["default"], fields["explore.k"]["default"]) == ("8", "4")


def test_sql_answers_and_is_kept_for_its_user_alone(site: Any) -> None:
    query = "select count(*) as n from evaluations where model_id = '0/sft'"
    answer = site.post("/api/sql", {"query": query, "experiments": ["mini"]}, user="viewer")
    assert (answer.status, answer.json["rows"], answer.json["columns"][0]["name"]) == (200, [[60]], "n")
    refused = site.post("/api/sql", {"query": "select nonsense from evaluations"}, user="viewer")
    assert refused.status == 400
    assert refused.json["position"] == 7
    newest, before = site.get("/api/sql/history").json[:2]
    assert (newest["sql"], newest["rows"], newest["error"] is None) == ("select nonsense from evaluations", None, False)
    assert (before["sql"], before["rows"], before["error"]) == (query, 1, None)
    assert query not in [entry["sql"] for entry in site.get("/api/sql/history", user="admin").json]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_answer_can_be_kept_as_a_file(site: Any, kind: str) -> None:
    query = "select round, model, accuracy from scores order by all"
    reply = site.post("/api/sql/download", {"query": query, "experiments": ["mini"], "format": kind})
    assert reply.headers["content-disposition"] == f'attachment; filename="answer.{kind}"'
    rows = command(site, "scores", "--experiment", "mini")
    expected = sorted((row["round"], row["model"], row["accuracy"]) for row in rows)
    if kind == "csv":
        lines = list(csv.DictReader(io.StringIO(reply.body.decode())))
        shown = [(int(line["round"]), line["model"], float(line["accuracy"])) for line in lines]
    else:
        shown = [tuple(row.values()) for row in pq.read_table(io.BytesIO(reply.body)).to_pylist()]
    assert shown == expected


def test_queries_of_many_people_do_not_stop_airflow(site: Any) -> None:
    query = {"query": "select count(*) from range(30000000) a where a.range % 7 = 3"}
    with ThreadPoolExecutor(20) as people:
        asked = [people.submit(site.post, "/api/sql", query, "viewer") for _ in range(20)]
        headers = {"Authorization": f"Bearer {site.token('viewer')}"}
        answered_meanwhile = 0
        while not all(one.done() for one in asked):
            answered_meanwhile += site.send("GET", "/api/v2/dags", headers=headers).status == 200
        assert answered_meanwhile > 0
        replies = [one.result() for one in asked]
    assert [(reply.status, reply.json.get("rows")) for reply in replies] == [(200, [[4_285_714]])] * 20


def test_the_api_is_described(site: Any) -> None:
    described = site.get("/openapi.json").json
    assert described["servers"] == [{"url": "/selfexplore"}]
    paths = described["paths"]
    assert {path.removeprefix("/api") for path in paths} >= {
        *("/experiments", "/experiments/{experiment}", "/experiments/{experiment}/problems", "/compare", "/recipes"),
        *(
            "/experiments/{experiment}/problems/{problem_id}",
            "/experiments/{experiment}/pause",
            "/sql",
            "/sql/download",
        ),
    }
    schema = paths["/api/experiments/{experiment}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/ExperimentPage"}
    assert "/api/report/{experiment}" in paths


def test_every_refusal_is_described(site: Any) -> None:
    described = site.get("/openapi.json").json
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            told = {"400", "401", "403", "404", "503"} | ({"409"} if route["tags"] == ["control"] else set())
            assert set(route["responses"]) >= told, (method, path)
            for status in told:
                schema = route["responses"][status]["content"]["application/json"]["schema"]
                assert list(schema) == ["$ref"], (method, path, status)
    assert described["components"]["schemas"]["Refusal"]["required"] == ["detail"]


def test_the_list_is_paged(site: Any) -> None:
    whole = site.get("/api/experiments")
    names = [row["experiment"] for row in whole.json]
    assert whole.headers["x-total-count"] == str(len(names))
    second = site.get("/api/experiments?offset=1&limit=1")
    assert ([row["experiment"] for row in second.json], second.headers["x-total-count"]) == (
        names[1:2],
        str(len(names)),
    )


def test_hundreds_of_rationales_may_be_asked_for(site: Any) -> None:
    problem_id = site.get("/api/experiments/mini/problems?split=train&limit=1").json["problems"][0]["problem_id"]
    assert site.get(f"/api/experiments/mini/problems/{problem_id}?limit=500").status == 200
    assert site.get(f"/api/experiments/mini/problems/{problem_id}?limit=501").status == 422


def test_a_proxy_s_missing_setting_is_named(site: Any) -> None:
    headers = {"Cookie": f"_token={site.token('user')}", "Origin": "https://selfexplore.example"}
    refused = site.send("POST", "/selfexplore/api/experiments/mini/pause", "{}", headers)
    assert refused.status == 403
    assert "`[api] base_url`" in refused.json["detail"]


def test_a_missing_part_is_unavailable_not_a_failure(site: Any) -> None:
    (path, *_) = sorted(site.store.table_dir("problems", "hand", 0).glob("*.parquet"))
    away = path.rename(path.with_suffix(".away"))
    try:
        refused = site.get("/api/experiments/hand/problems/other-dev-00")
        assert (refused.status, "part of them is missing" in refused.json["detail"]) == (503, True)
        assert site.get("/api/experiments").status == 200
    finally:
        away.rename(path)


def test_airflow_shows_the_page_in_its_navigation_and_on_runs(site: Any) -> None:
    plugins = site.airflow.api.call("GET", "/plugins")["plugins"]
    (ours,) = [plugin for plugin in plugins if plugin["name"] == "selfexplore"]
    assert {(view["destination"], view["href"]) for view in ours["external_views"]} == {
        ("nav", "/selfexplore/"),
        ("dag_run", "/selfexplore/?run={RUN_ID}"),
    }
    assert site.airflow.api.call("GET", "/plugins/importErrors")["import_errors"] == []


def test_a_round_started_from_the_page_is_followed_and_linked(site: Any) -> None:
    """With the session's cookie alone, as the page does it."""
    headers = {"Cookie": f"_token={site.token('user')}", "Origin": site.airflow.address}
    body = json.dumps({"logical_date": None, "conf": {"experiment": "hand", "max_rounds": 1}})
    started = site.send("POST", f"/api/v2/dags/{ROUND_DAG}/dagRuns", body, headers)
    assert started.status == 200, started.body
    run_id = started.json["dag_run_id"]
    assert started.json["triggering_user_name"] == "user"
    place = f"/api/runs/{quote(run_id, safe='')}"
    assert site.get(place).json["experiment"] == "hand"
    assert site.get("/api/runs/nothing").status == 404
    states = set()
    deadline = time.monotonic() + WAIT_S
    while site.airflow.api.run_state(ROUND_DAG, run_id) not in ("success", "failed"):
        assert time.monotonic() < deadline
        rows = {row["experiment"]: row for row in site.get("/api/experiments").json}
        states.add((rows["hand"]["state"], rows["hand"]["last_round"]))
        time.sleep(0.5)
    assert site.airflow.api.run_state(ROUND_DAG, run_id) == "success"
    assert ("running", 0) in states
    assert site.get(place).json == {"experiment": "hand", "round": 1}
    row = {row["experiment"]: row for row in site.get("/api/experiments").json}["hand"]
    assert (row["state"], row["last_round"], row["champion"], row["gain"]) == ("ended", 1, "1/policy", 0.25)
    links = site.airflow.api.call(
        "GET", f"/dags/{ROUND_DAG}/dagRuns/{quote(run_id, safe='')}/taskInstances/summarize/links"
    )
    assert links["extra_links"] == {"Self-Explore": f"/plugin/selfexplore/selfexplore/?run={quote(run_id, safe='')}"}
