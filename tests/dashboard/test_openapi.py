"""The API's description: complete, typed, and the same in docs/api.md."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi.testclient import TestClient

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def operations(client: TestClient) -> dict[str, dict]:
    paths = client.get("/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path}": told for path, calls in paths.items() for method, told in calls.items()
    }


def test_the_document_lists_every_call_with_its_words(reading: TestClient) -> None:
    table = dict(re.findall(r"^\| `([A-Z]+ /\S+)` \| (.+) \|$", DOCUMENT.read_text(), flags=re.MULTILINE))
    expected = {
        name: " ".join(told["description"].split("\n\n")[0].split())
        for name, told in operations(reading).items()
    }
    assert table == expected


def test_every_call_has_typed_answers_and_refusals(reading: TestClient) -> None:
    for name, told in operations(reading).items():
        good = next(answer for status, answer in told["responses"].items() if status.startswith("2"))
        kinds = good["content"]
        if "application/json" in kinds:
            assert kinds["application/json"]["schema"], f"{name} has no typed reply"
        assert told["responses"]["404"]["content"]["application/json"]["schema"]["$ref"].endswith("Problem")


def test_writing_calls_are_told_apart(reading: TestClient) -> None:
    """Whatever changes files says that it needs the token; only these calls take a method other than GET."""
    words = {
        name: told["description"] for name, told in operations(reading).items() if not name.startswith("GET")
    }
    needing = {name for name, text in words.items() if "eeds the token" in text}
    assert needing == {
        "PUT /api/runs/{run}/selections/{name}",
        "POST /api/jobs",
        "POST /api/jobs/{name}/stop",
        "POST /api/runs/{run}/resume",
    }
    for name, text in words.items():
        if name not in needing and name != "POST /api/token":
            assert "no token" in text or "nothing is written" in text, name


def test_the_form_is_the_one_declaration(reading: TestClient) -> None:
    from nunatak.reconstruct.config import EngineConfig

    schema = reading.get("/api/jobs/schema").json()["$defs"]["EngineConfig"]["properties"]
    assert set(schema) == set(EngineConfig.model_fields)
    for name, field in EngineConfig.model_fields.items():
        assert schema[name]["description"] == field.description
