"""Attacks on the routes, one row each: every one is refused or harmless, and the page answers afterwards."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from selfexplore_tasks.store.home import Store

API = "/selfexplore/api"
MINI = f"{API}/experiments/mini"
OWN = "own"
DEEP = "[" * 20_000 + "]" * 20_000


@dataclass(frozen=True)
class Attack:
    """One request. ``origin`` OWN is this site's; ``cookie`` names a user, or is sent as it is."""

    name: str
    method: str
    path: str
    allowed: set[int]
    body: str | bytes | None = None
    cookie: str | None = "admin"
    origin: str | None = OWN
    headers: dict[str, str] = field(default_factory=dict)


def get(name: str, path: str, *allowed: int, **more: Any) -> Attack:
    return Attack(name, "GET", path, set(allowed), **more)


def post(name: str, path: str, *allowed: int, body: Any = None, **more: Any) -> Attack:
    text = body if isinstance(body, str | bytes) else json.dumps({} if body is None else body)
    return Attack(name, "POST", path, set(allowed), text, **more)


WHO = [
    get("no login", f"{API}/experiments", 401, cookie=None),
    get("empty cookie", f"{API}/experiments", 401, cookie="_token="),
    get("garbage cookie", f"{API}/experiments", 401, 403, cookie="_token=abc"),
    get("unsigned token", f"{API}/experiments", 401, 403, cookie="_token=eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."),
    get("cookie of another name", f"{API}/experiments", 401, cookie="session=admin"),
    get("basic login", f"{API}/experiments", 401, cookie=None, headers={"Authorization": "Basic YWRtaW46YWRtaW4="}),
    get("bad token wins over cookie", f"{API}/experiments", 403, headers={"Authorization": "Bearer x"}),
    get("told to be an admin", f"{API}/experiments", 401, cookie=None, headers={"X-Remote-User": "admin"}),
    get("told to come from here", f"{API}/experiments", 401, cookie=None, headers={"X-Forwarded-For": "127.0.0.1"}),
    get("unknown path, no login", "/selfexplore/nothing", 401, cookie=None),
    get("static file, no login", "/selfexplore/static/index.html", 401, cookie=None),
    get("description, no login", "/selfexplore/openapi.json", 401, cookie=None),
    get("FastAPI's own pages", "/selfexplore/docs", 404),
    get("FastAPI's own pages, no login", "/selfexplore/redoc", 401, cookie=None),
    post("pause, no login", f"{MINI}/pause", 401, cookie=None),
    post("sql, no login", f"{API}/sql", 401, body={"query": "select 1"}, cookie=None),
    post("pause as a viewer", f"{MINI}/pause", 403, cookie="viewer"),
    post("fork as a viewer", f"{MINI}/fork", 403, body={"round": 0, "new_name": "stolen"}, cookie="viewer"),
]
WHENCE = [
    post(f"{path.rsplit('/', 1)[-1]} from {label}", path, 403, body=body, origin=origin)
    for label, origin in (
        ("nowhere", None),
        ("null", "null"),
        ("another site", "https://evil.example"),
        ("a site that ends like ours", "http://evil127.0.0.1"),
        ("another port", "http://127.0.0.1:1"),
        ("another scheme", "https://127.0.0.1"),
        ("two sites", "http://127.0.0.1, https://evil.example"),
        ("an empty one", ""),
    )
    for path, body in (
        (f"{MINI}/pause", {}),
        (f"{API}/sql", {"query": "select 1"}),
    )
] + [
    post("check from another site", f"{API}/recipes/check", 403, origin="https://evil.example"),
    post("download from nowhere", f"{API}/sql/download", 403, body={"query": "select 1", "format": "csv"}, origin=None),
    post("another site with a token", f"{MINI}/cancel", 403, origin="https://evil.example", cookie="bearer"),
    post(
        "said to be forwarded",
        f"{MINI}/pause",
        403,
        origin="https://evil.example",
        headers={"X-Forwarded-Host": "evil.example"},
    ),
    post("referer instead of origin", f"{MINI}/pause", 403, origin=None, headers={"Referer": "http://127.0.0.1/"}),
]
NAMES = (
    [
        get(f"experiment {name!r}", f"{API}/experiments/{name}", 400, 404, 414, 422)
        for name in (
            *(
                "..",
                "%2e%2e",
                "..%2f..%2fetc",
                "%2e%2e%2fmini",
                "mini%2f..%2fmini",
                "mini%00",
                "%00",
                "mini%0d%0aX:%20y",
            ),
            *("mini%20", "~", "*", "x" * 65, "x" * 3_000, "%ff%fe", "mini;x", "mini%27--", "CON", ".hidden", "mini..x"),
        )
    ]
    + [
        get(f"problem {name!r}", f"{MINI}/problems/{name}", 404, 422)
        for name in ("..%2f..%2f..%2fetc%2fpasswd", "%00", "a%00b", "' or 1=1 --", "x" * 501, "%0d%0aSet-Cookie:%20a=b")
        if " " not in name
    ]
    + [
        get("recipe by path", f"{API}/recipes/..%2f..%2fpyproject.toml", 404),
        get("recipe by absolute path", f"{API}/recipes/%2fetc%2fpasswd", 404),
        get("report of another folder", f"{API}/report/..%2fmini", 404),
        get("run of another Dag", f"{API}/runs/..%2f..%2fx", 404),
        get("run with NUL", f"{API}/runs/a%00b", 404),
        get("side without round", f"{API}/compare?left=mini&right=mini:1", 400),
        get("side outside", f"{API}/compare?left=..:0&right=mini:1", 404),
        get("side with a huge round", f"{API}/compare?left=mini:99999999&right=mini:1", 400),
        get("side with a negative round", f"{API}/compare?left=mini:-1&right=mini:1", 400),
        get("side in other digits", f"{API}/compare?left=mini:%D9%A1&right=mini:1", 400),
        post("fork to a path", f"{MINI}/fork", 409, body={"round": 0, "new_name": "../stolen"}),
        post("fork to nothing", f"{MINI}/fork", 409, body={"round": 0, "new_name": ""}),
        post("fork to NUL", f"{MINI}/fork", 409, body={"round": 0, "new_name": "a\0b"}),
        post("fork to a line break", f"{MINI}/fork", 409, body={"round": 0, "new_name": "a\r\nb"}),
        post("reason with line breaks", f"{MINI}/pause", 422, body={"why": "x\r\nerror: fake log line"}),
        post("reason with escapes", f"{MINI}/pause", 422, body={"why": "\x1b[2J"}),
        post("check a file", f"{API}/recipes/check", 200, body={"recipe": "/etc/passwd"}),
        post("check a file by path", f"{API}/recipes/check", 200, body={"recipe": "../../pyproject.toml"}),
        post("sql over another folder", f"{API}/sql", 400, body={"query": "select 1", "experiments": ["../x"]}),
    ]
)
FILES = [
    get(f"static {path!r}", f"/selfexplore/static/{path}", 404)
    for path in (
        *("../app.py", "..%2fapp.py", "%2e%2e/app.py", "%2e%2e%2fsecurity.py", "..%5capp.py", "%2fetc%2fpasswd"),
        *("js/../../app.py", "js/..%2f..%2fsecurity.py", "%00", "index.html%00.js", "", "js", "index.html/x"),
        *("....//app.py", "%252e%252e%252fapp.py", "~root", "/etc/passwd"),
    )
]
NUMBERS = [
    get(f"problems?{query}", f"{MINI}/problems?{query}", 422)
    for query in (
        *(
            "limit=0",
            "limit=-1",
            "limit=201",
            "limit=1e3",
            "limit=abc",
            "limit=99999999999999999999",
            "limit=1&limit=x",
        ),
        *("offset=-1", "offset=10000001", "offset=1.5", "round=-1", "round=1000000", "round=x", "pit_step=0"),
        *("pit_step=99999999999", "split=all", "split=train%27", "status=%27;drop", "status=", f"text={'x' * 201}"),
    )
] + [
    get("problem limit", f"{MINI}/problems/x?limit=501", 422),
    get("very long query", f"{MINI}/problems?text={'x' * 20_000}", 414),
    get("query of a megabyte", f"{MINI}/problems?text={'x' * 1_000_000}", 400, 414, 431),
    get("a thousand parameters", f"{MINI}/problems?{'&'.join(f'p{n}=1' for n in range(1_000))}", 200),
    get("wildcards", f"{MINI}/problems?text=%25_%25", 200),
    get("SQL in text", f"{MINI}/problems?text=%27)%20or%20true--", 200),
    get("NUL in text", f"{MINI}/problems?text=%00", 200),
]
BODIES = [
    post("no body", f"{MINI}/pause", 422, body=b""),
    post("not JSON", f"{MINI}/pause", 422, body=b"{"),
    post("a list", f"{MINI}/pause", 422, body="[]"),
    post("null", f"{MINI}/pause", 422, body="null"),
    post("a number for text", f"{MINI}/pause", 422, body={"why": 5}),
    post("not UTF-8", f"{MINI}/pause", 400, 422, body=b'{"why": "\xff\xfe"}'),
    post("a form", f"{MINI}/pause", 422, body=b"why=x", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    post("plain text", f"{MINI}/pause", 422, body=b'{"why": ""}', headers={"Content-Type": "text/plain"}),
    post("XML", f"{MINI}/pause", 422, body=b"<why/>", headers={"Content-Type": "application/xml"}),
    post("long reason", f"{MINI}/pause", 422, body={"why": "x" * 501}),
    post("large body", f"{MINI}/pause", 413, body={"why": "x" * 100_000}),
    post("large query", f"{API}/sql", 413, body={"query": "select " + "1," * 50_000 + "1"}),
    post("long query", f"{API}/sql", 422, body={"query": "x" * 20_001}),
    post("large check", f"{API}/recipes/check", 413, body={"overrides": {"x": "y" * 70_000}}),
    post("deep JSON", f"{API}/recipes/check", 400, 422, body='{"overrides": {"x": ' + DEEP + "}}"),
    post("deep override", f"{API}/recipes/check", 200, body={"overrides": {".".join("a" * 500): 1}}),
    post("huge number", f"{API}/recipes/check", 200, 400, 422, body='{"overrides": {"seed": 1' + "0" * 5_000 + "}}"),
    post("NaN", f"{API}/recipes/check", 200, 400, 422, body='{"overrides": {"dpo.beta": NaN}}'),
    post("class in a recipe", f"{API}/recipes/check", 200, body={"overrides": {"__class__": {"x": 1}}}),
    post("fork of a string round", f"{MINI}/fork", 422, body={"round": "0x", "new_name": "a"}),
    post("fork of a negative round", f"{MINI}/fork", 422, body={"round": -1, "new_name": "a"}),
    post("download of another kind", f"{API}/sql/download", 422, body={"query": "select 1", "format": "../x"}),
    post("sql that writes", f"{API}/sql", 400, body={"query": "copy (select 1) to '/tmp/stolen.csv'"}),
    post("sql that reads a file", f"{API}/sql", 400, body={"query": "select * from read_csv('/etc/passwd')"}),
    post(
        "download that reads a file", f"{API}/sql/download", 400, body={"query": "from '/etc/passwd'", "format": "csv"}
    ),
    post("experiments of a wrong type", f"{API}/sql", 422, body={"query": "select 1", "experiments": "mini"}),
    post("too many experiments", f"{API}/sql", 422, body={"query": "select 1", "experiments": ["x"] * 201}),
]
METHODS = [
    Attack(f"{method} pause", method, f"{MINI}/pause", {404, 405}, "{}")
    for method in ("GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
] + [
    Attack("DELETE an experiment", "DELETE", MINI, {404, 405}),
    Attack("POST to a page", "POST", MINI, {404, 405}, "{}"),
    Attack("a made-up method", "STEAL", MINI, {400, 401, 404, 405}),
    post("method override", f"{MINI}", 404, 405, headers={"X-HTTP-Method-Override": "DELETE"}),
    post("unknown verb", f"{MINI}/delete", 404, 405),
    get("a header of 60 KB", f"{API}/experiments", 200, 400, 431, headers={"X-Long": "x" * 60_000}),
    get("another host", f"{API}/experiments", 200, headers={"Host": "evil.example"}),
    post(
        "another host's origin", f"{MINI}/x", 404, 405, origin="http://evil.example", headers={"Host": "evil.example"}
    ),
    get("range of a static file", "/selfexplore/static/index.html", 200, 206, 416, headers={"Range": "bytes=0-0,-1"}),
]
ATTACKS = [*WHO, *WHENCE, *NAMES, *FILES, *NUMBERS, *BODIES, *METHODS]


@pytest.fixture(scope="module")
def untouched(site: Any) -> dict[str, bytes]:
    """What must not change: every experiment and control file."""
    return _contents(site.store)


def _contents(store: Store) -> dict[str, bytes]:
    paths = [path for folder in ("experiments", "control") for path in sorted((store.root / folder).glob("*"))]
    return {str(path): path.read_bytes() for path in paths}


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 120
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name[:60])
def test_an_attack_is_refused_or_harmless(site: Any, untouched: dict[str, bytes], attack: Attack) -> None:
    headers = dict(attack.headers)
    if attack.cookie == "bearer":
        headers["Authorization"] = f"Bearer {site.token('admin')}"
    elif attack.cookie is not None:
        known = attack.cookie in ("admin", "viewer")
        headers["Cookie"] = f"_token={site.token(attack.cookie)}" if known else attack.cookie
    if attack.method == "POST" and attack.origin is not None:
        headers["Origin"] = site.airflow.address if attack.origin == OWN else attack.origin
    reply = site.send(attack.method, attack.path, attack.body, headers)
    assert reply.status in attack.allowed, reply.body[:300]
    assert b"root:x:" not in reply.body
    assert b"import annotations" not in reply.body
    assert b"Traceback" not in reply.body
    assert "a=b" not in reply.headers.get("set-cookie", "")
    if reply.status >= 400 and reply.body and reply.headers.get("content-type", "").startswith("application/json"):
        assert isinstance(reply.json.get("detail") or reply.json.get("message"), str)
    assert _contents(site.store) == untouched
    assert not Path("/tmp/stolen.csv").exists()
    assert site.get("/api/experiments").status == 200


@pytest.mark.parametrize(
    "request_text",
    [
        "GET {api}/experiments HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb\r\nConnection: close\r\n\r\n",
        "GET {api}/experiments/mini\x00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /selfexplore/static/../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST {api}/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST {api}/sql HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\nConnection: close\r\n\r\n",
        "POST {api}/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n{{",
        "GET http://evil.example{api}/experiments HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "NONSENSE\r\n\r\n",
    ],
)
def test_raw_requests_without_a_login_get_nothing(site: Any, request_text: str) -> None:
    with socket.create_connection(("127.0.0.1", site.airflow.port), timeout=60) as raw:
        raw.sendall(request_text.format(api=API).encode("latin-1"))
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        while data := raw.recv(65_536):
            answer += data
    assert not answer or answer.split(b" ", 2)[1] in (b"400", b"401", b"404", b"405", b"413")
    assert b"root:x:" not in answer
    assert site.get("/api/experiments").status == 200


def test_a_body_of_undeclared_length_is_cut_off(site: Any) -> None:
    headers = {
        "Cookie": f"_token={site.token('admin')}",
        "Origin": site.airflow.address,
        "Transfer-Encoding": "chunked",
    }
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    reply = site.send("POST", f"{API}/experiments/mini/pause", chunk * 3 + b"0\r\n\r\n", headers)
    assert (reply.status, reply.json["detail"]) == (413, "The request is larger than 64 KiB.")


def test_hostile_texts_come_as_text(site: Any) -> None:
    listed = site.get("/api/experiments/hand/problems?text=onerror")
    (problem,) = listed.json["problems"]
    assert problem["question"].startswith("</script><script>alert('x')")
    asked = site.post("/api/sql", {"query": "select text from rationales where text like '%onerror%'"})
    assert len(asked.json["rows"]) == 1
    opened = site.get(f"/api/experiments/hand/problems/{problem['problem_id']}")
    assert opened.json["question"] == problem["question"]
    for reply in (listed, asked, opened):
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["x-content-type-options"] == "nosniff"
    report = site.get("/api/report/hand")
    assert b"<script>alert('x')" not in report.body
    assert report.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in report.headers["content-security-policy"]
