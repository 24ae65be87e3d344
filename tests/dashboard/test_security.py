"""What must be refused: other hosts and origins, no token, paths out of the run, floods, hostile files."""

from __future__ import annotations

import pickle
from pathlib import Path

import _runs
import pytest
from fastapi.testclient import TestClient

from conftest import BEARER, TOKEN
from nunatak.dashboard.app import create_app
from nunatak.dashboard.serve import make_settings, open_socket
from nunatak.dashboard.settings import LARGEST_REQUEST_BYTES, Settings

SAVE = "/api/runs/first/selections/mine"
ROWS = {"rows": [1, 2, 3]}


def sentence(answer) -> str:
    """The one sentence of a refusal, and nothing else."""
    assert answer.status_code >= 400, answer.text
    told = answer.json()
    assert set(told) == {"detail"}
    detail = told["detail"]
    assert detail.endswith(".")
    assert "\n" not in detail
    assert "Traceback" not in detail
    return detail


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "", "[::2]"])
def test_other_host_names_are_refused(reading: TestClient, host: str) -> None:
    """A name that was made to point to 127.0.0.1 (DNS rebinding) gives itself away in Host."""
    for path in ("/", "/api/runs", "/api/runs/first/files/particles.star"):
        answer = reading.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "host name" in sentence(answer)


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost:1", "LOCALHOST", "[::1]:8642"])
def test_own_host_names_are_answered(reading: TestClient, host: str) -> None:
    assert reading.get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:9999", "http://127.0.0.1", "file://"]
)
def test_calls_of_other_origins_are_refused(writing: TestClient, runs: Path, origin: str) -> None:
    answer = writing.put(SAVE, json=ROWS, headers={**BEARER, "origin": origin})
    assert answer.status_code == 403
    assert "origin" in sentence(answer)
    assert not (runs / "first" / "selections" / "mine.star").exists()
    assert writing.get("/api/runs", headers={"origin": origin}).status_code == 403


def test_calls_of_other_sites_without_origin_are_refused(writing: TestClient) -> None:
    answer = writing.post("/api/jobs", json={}, headers={**BEARER, "sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_no_page_may_be_framed_and_nothing_is_shared(reading: TestClient) -> None:
    answer = reading.get("/", headers={"origin": "http://127.0.0.1:8642"})
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        "Bearer \xff".encode("latin-1"),
    ],
)
def test_writing_needs_the_token(writing: TestClient, runs: Path, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given}
    for method, path, body in (
        ("PUT", SAVE, ROWS),
        ("POST", "/api/jobs", {"name": "x", "job": {"input": {"particles": "/etc/passwd"}}}),
        ("POST", "/api/jobs/x/stop", {}),
        ("POST", "/api/runs/live/resume", {}),
        ("POST", "/api/token", {}),
    ):
        answer = writing.request(method, path, json=body, headers=headers)
        assert answer.status_code == 401
        assert "token" in sentence(answer)
    assert not (runs / "first" / "selections" / "mine.star").exists()


def test_a_dashboard_that_reads_writes_for_no_token(reading: TestClient) -> None:
    answer = reading.put(SAVE, json=ROWS, headers=BEARER)
    assert answer.status_code == 403
    assert "--allow-writing" in sentence(answer)


ODD_NAMES = [
    "..%2F..%2Foutside",
    "%2Fetc%2Fpasswd",
    "..",
    ".hidden",
    "a%00b",
    "a%0Ab",
    "a%5Cb",
    "name%20with%20space",
    "%3Cscript%3E",
    "CON.",
    "a..b",
    "x" * 81,
    "%F0%9F%92%A3",
    "-rf",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_hostile_names_of_selections(writing: TestClient, runs: Path, name: str) -> None:
    before = sorted(runs.rglob("*"))
    answer = writing.put(f"/api/runs/first/selections/{name}", json=ROWS, headers=BEARER)
    assert answer.status_code in (400, 404, 405)
    sentence(answer)
    assert sorted(runs.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["../outside", "/tmp/outside", "..", ".hidden", "a\nb", "", "x" * 81, "-o", "a/b"]
)
def test_hostile_names_of_jobs(writing: TestClient, runs: Path, name: str) -> None:
    before = sorted(runs.parent.rglob("*"))
    job = {"input": {"particles": str(runs / "first" / "particles.star")}}
    answer = writing.post("/api/jobs", json={"name": name, "job": job}, headers=BEARER)
    assert answer.status_code == 400
    sentence(answer)
    assert sorted(runs.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/js/..%2f..%2f..%2f__init__.py",
        "/..%5c..%5cpyproject.toml",
        "/api/runs/..%2F..%2Fetc/details",
        "/api/runs/%2Fetc/details",
        "/api/runs/first/files/..%2Fsecond%2Fparticles.star",
        "/api/runs/first/files/%2Fetc%2Fpasswd",
        "/api/runs/first/files/checkpoint%2Fcurrent.json",
        "/api/runs/first/columns/..%2F..%2Fetc%2Fpasswd",
        "/api/runs/first/map?name=../second/mean",
        "/api/runs/first/selections/..%2Fparticles/star",
        "/docs",
        "/nosuch",
    ],
)
def test_paths_do_not_lead_out(reading: TestClient, path: str) -> None:
    answer = reading.get(path)
    assert answer.status_code in (400, 404)
    sentence(answer)


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    run = _runs.finished_run(tmp_path / "runs" / "run", particles=20)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "report.html").write_text("secret")
    (run / "report.html").symlink_to(secret / "report.html")
    (run / "selections").symlink_to(secret)
    with TestClient(
        create_app(Settings((run,), tmp_path, TOKEN)), base_url="http://127.0.0.1:8642"
    ) as client:
        assert client.get("/api/runs/run/files/report.html").status_code == 404
        answer = client.put("/api/runs/run/selections/mine", json=ROWS, headers=BEARER)
        assert "leads out" in sentence(answer)
    assert [path.name for path in secret.iterdir()] == ["report.html"]


def test_floods_are_refused(writing: TestClient) -> None:
    big = b'{"rows": [' + b"1," * (LARGEST_REQUEST_BYTES // 2) + b"1]}"
    answer = writing.put(SAVE, content=big, headers={**BEARER, "content-type": "application/json"})
    assert answer.status_code == 413
    sentence(answer)

    def drops():
        yield b'{"rows": [1]}'

    answer = writing.put(SAVE, content=drops(), headers=BEARER)
    assert answer.status_code == 411
    assert writing.get("/api/runs/first/map?" + "z=1&" * 4000).status_code == 414
    answer = writing.post("/api/runs/first/path", json={"points": [[0, 0, 0, 0]] * 65})
    assert answer.status_code == 422
    assert writing.get("/api/runs/first/images/1.png?size=100000").status_code == 422


@pytest.mark.parametrize("query", ["z=nan&z=0&z=0&z=0", "z=inf&z=0&z=0&z=0", "z=1", "z=a"])
def test_senseless_latents_are_refused(reading: TestClient, query: str) -> None:
    sentence(reading.get(f"/api/runs/first/map?{query}"))


class Bomb:
    """A pickle that would leave a file behind when it is opened."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_no_pickle_is_ever_opened(tmp_path: Path) -> None:
    run = _runs.finished_run(tmp_path / "run", particles=20)
    mark = tmp_path / "opened"
    for name in ("latents.npy", "volumes/kmeans_labels.npy", "model.safetensors"):
        (run / name).write_bytes(pickle.dumps(Bomb(mark)))
    with TestClient(create_app(Settings((run,), tmp_path)), base_url="http://127.0.0.1:8642") as client:
        assert client.get("/api/runs/run/columns").json()["latent_dim"] == 0
        sentence(client.get("/api/runs/run/map"))
    assert not mark.exists()


def test_hostile_star_contents(tmp_path: Path) -> None:
    """Images that point elsewhere show nothing; names that are markup come back as plain data."""
    run = _runs.finished_run(tmp_path / "run", particles=20)
    star = run / "particles.star"
    lines = star.read_text().replace(f"{run.resolve()}/particles.mrcs", "/etc/passwd").splitlines()
    text = "\n".join(lines).replace("_rlnRandomSubset", "_<img/src=x/onerror=alert(1)>")
    star.write_text(text + "\n")
    with TestClient(create_app(Settings((run,), tmp_path)), base_url="http://127.0.0.1:8642") as client:
        detail = sentence(client.get("/api/runs/run/images/0.png"))
        assert "root:" not in detail
        names = client.get("/api/runs/run/columns")
        assert names.headers["content-type"] == "application/json"
        assert "<img/src=x/onerror=alert(1)>" in [one["name"] for one in names.json()["columns"]]


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"data_particles\nloop_\n_rlnImageName #1\n"])
def test_broken_star_files_are_a_sentence(tmp_path: Path, content: bytes) -> None:
    run = _runs.finished_run(tmp_path / "run", particles=20)
    (run / "particles.star").write_bytes(content)
    with TestClient(create_app(Settings((run,), tmp_path)), base_url="http://127.0.0.1:8642") as client:
        sentence(client.get("/api/runs/run/columns"))


def test_nothing_but_this_machine_is_listened_to_by_default(runs: Path) -> None:
    from nunatak.cli.commands.dashboard import Options

    options = Options(runs=(runs,))
    assert options.host == "127.0.0.1"
    assert not options.allow_writing
    settings = make_settings(options.runs, options.host, options.allow_writing, None)
    assert settings.token is None
    with open_socket(options.host, 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
    tokens = {make_settings((runs,), "127.0.0.1", True, None).token for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 32 for token in tokens)
