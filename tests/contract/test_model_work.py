"""Models made of models over the API."""

from __future__ import annotations

import pytest

from tests.api.site import Site


def test_work_is_taken_and_told(site: Site) -> None:
    asked = {"kind": "convert", "source": "tiny", "target": "made"}
    taken = site.client.post("/api/v2/model-work", json=asked)
    assert taken.status_code == 202
    view = taken.json()
    assert view["target"] == "made.safetensors" and view["state"] in ("waiting", "running")
    assert [each["id"] for each in site.client.get("/api/v2/model-work").json()] == [view["id"]]
    assert site.client.post(f"/api/v2/model-work/{view['id']}/cancel").json()["state"] in ("cancelled", "failed")
    assert site.client.get(f"/api/v2/model-work/{view['id']}").json()["id"] == view["id"]


@pytest.mark.parametrize(
    ("asked", "status", "word"),
    [
        ({"kind": "convert", "source": "nowhere", "target": "x"}, 404, "nowhere"),
        ({"kind": "convert", "source": "", "target": "x"}, 404, "source"),
        ({"kind": "convert", "source": "tiny", "vae": "", "target": "x"}, 404, "VAE"),
        ({"kind": "convert", "source": "tiny", "target": "../x"}, 403, "character"),
        ({"kind": "convert", "source": "tiny", "target": "x", "precision": "fp64"}, 422, "precision"),
        ({"kind": "merge", "first": "tiny", "second": "tiny", "target": "x", "share": 1e9}, 422, "share"),
        ({"kind": "cook"}, 422, "kind"),
        ({"kind": "extract", "tuned": "tiny", "base": "tiny", "target": "x", "rank": 0}, 422, "rank"),
    ],
)
def test_bad_work_is_refused(site: Site, asked: dict[str, object], status: int, word: str) -> None:
    answer = site.client.post("/api/v2/model-work", json=asked)
    assert answer.status_code == status, answer.text
    assert word in answer.text
    assert site.client.get("/api/v2/model-work").json() == []
