"""All images of a job as one archive."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from tests.api.site import Site
from webui.api.v2.zipped import CHUNK, zip_files


def archive(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        assert {entry.compress_type for entry in opened.infolist()} == {zipfile.ZIP_STORED}
        return {name: opened.read(name) for name in opened.namelist()}


def test_files_keep_their_names_and_large_ones_come_in_pieces(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes(range(256)) * (3 * CHUNK // 256 + 1))
    other = tmp_path / "elsewhere" / "large.png"
    other.parent.mkdir()
    other.write_bytes(b"small")
    pieces = list(zip_files([large, other]))
    assert len(pieces) > 3 and max(map(len, pieces)) < 2 * CHUNK
    assert archive(b"".join(pieces)) == {"large.png": large.read_bytes(), "large (2).png": b"small"}


def test_what_is_gone_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    content = archive(b"".join(zip_files([tmp_path / "a.png", tmp_path / "b.png"], ["c.png"])))
    assert content.keys() == {"a.png", "missing.txt"}
    assert content["missing.txt"].decode().splitlines()[1:] == ["c.png", "b.png"]


def test_the_images_of_a_job_are_downloaded_at_once(site: Site) -> None:
    asked = {"prompt": "discs", "width": 64, "height": 64, "steps": 1, "batch_count": 3, "seed": 1}
    job = site.client.post("/api/v2/jobs", json=asked).json()
    done = site.studio.wait(job["id"])
    answer = site.client.get(f"/api/v2/jobs/{done.id}/images.zip")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="easel-{done.id[:8]}.zip"'
    paths = [site.config.outputs_dir / image.path for image in done.images]
    assert len(paths) == 4, "three images and their grid"
    assert archive(answer.content) == {path.name: path.read_bytes() for path in paths}
    paths[0].unlink()
    names = archive(site.client.get(f"/api/v2/jobs/{done.id}/images.zip").content).keys()
    assert names == {*(path.name for path in paths[1:]), "missing.txt"}
    for path in paths[1:]:
        path.unlink()
    gone = site.client.get(f"/api/v2/jobs/{done.id}/images.zip")
    assert gone.status_code == 404 and "Generate first" in gone.json()["detail"]
    assert site.client.get("/api/v2/jobs/unknown/images.zip").status_code == 404
