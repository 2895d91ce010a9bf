from __future__ import annotations

import logging
from pathlib import Path

import pytest

from webui.config import Config, read
from webui.domain.models import Kind
from webui.errors import BadFile
from webui.weights.catalog.places import ModelFolders, find_folders, folders_of_a1111, folders_of_comfyui


def configure(tmp_path: Path, *arguments: str) -> Config:
    return read(["--data-dir", str(tmp_path), *arguments], {})[0]


def made(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a1111s_folders_below_ours(tmp_path: Path) -> None:
    folders = find_folders(configure(tmp_path))
    models = tmp_path / "models"
    assert folders.of(Kind.CHECKPOINT) == (models / "Stable-diffusion",)
    assert folders.of(Kind.LORA)[0] == models / "Lora"
    assert folders.of(Kind.HYPERNETWORK) == (models / "hypernetworks",)
    assert folders.of(Kind.IMAGE_ENCODER) == ()
    assert folders.adopted == frozenset()


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        ("--ckpt-dir", Kind.CHECKPOINT),
        ("--vae-dir", Kind.VAE),
        ("--lora-dir", Kind.LORA),
        ("--embeddings-dir", Kind.EMBEDDING),
        ("--hypernetwork-dir", Kind.HYPERNETWORK),
        ("--controlnet-dir", Kind.CONTROLNET),
        ("--text-encoder-dir", Kind.TEXT_ENCODER),
        ("--esrgan-models-path", Kind.UPSCALER),
        ("--dat-models-path", Kind.UPSCALER),
    ],
)
def test_flags_name_further_folders(flag: str, kind: Kind, tmp_path: Path) -> None:
    made(tmp_path / "one", tmp_path / "two")
    config = configure(tmp_path, flag, str(tmp_path / "one"), flag, str(tmp_path / "two"))
    folders = find_folders(config)
    assert folders.of(kind)[-2:] == (tmp_path / "one", tmp_path / "two")
    assert folders.adopted == frozenset(), "a folder the user names for Easel is the user's own"
    assert config.flags[flag[2:].replace("-", "_")] == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_embeddings_may_lie_beside_the_models_as_in_a1111(tmp_path: Path) -> None:
    made(tmp_path / "embeddings", tmp_path / "more")
    folders = find_folders(configure(tmp_path, "--embeddings-dir", str(tmp_path / "more")))
    expected = (tmp_path / "models" / "embeddings", tmp_path / "embeddings", tmp_path / "more")
    assert folders.of(Kind.EMBEDDING) == expected and folders.adopted == frozenset()


@pytest.mark.parametrize("flag", ["--lora-dir", "--a1111-home", "--extra-model-paths"])
def test_what_is_not_there_is_said_at_once(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        configure(tmp_path, flag, str(tmp_path / "nowhere"))
    assert f"{flag}: there is no" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--a1111-home", "--forge-ref-a1111-home"])
def test_another_programs_folder_is_used_in_place(flag: str, tmp_path: Path) -> None:
    home = tmp_path / "webui"
    made(home / "models" / "Stable-diffusion", home / "models" / "Lora", home / "embeddings")
    folders = find_folders(configure(tmp_path, flag, str(home)))
    assert folders.of(Kind.CHECKPOINT)[-1] == home / "models" / "Stable-diffusion"
    assert folders.of(Kind.EMBEDDING)[-1] == home / "embeddings"
    assert folders.adopted == {home / "models" / "Stable-diffusion", home / "models" / "Lora", home / "embeddings"}


def test_controlnets_of_the_extension_are_found(tmp_path: Path) -> None:
    made(tmp_path / "extensions" / "sd-webui-controlnet" / "models")
    assert folders_of_a1111(tmp_path) == [(Kind.CONTROLNET, tmp_path / "extensions/sd-webui-controlnet/models")]


def test_comfyuis_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(
        tmp_path,
        """
comfyui:
    base_path: /comfy/
    is_default: true
    checkpoints: models/checkpoints/
    loras: |
        models/loras
        # an old one
        /elsewhere/loras
    configs: models/configs
a111:
    base_path: webui
    vae: models/VAE
    controlnet:
empty:
""",
    )
    with caplog.at_level(logging.INFO):
        found = folders_of_comfyui(file)
    assert found == [
        (Kind.CHECKPOINT, Path("/comfy/models/checkpoints")),
        (Kind.LORA, Path("/comfy/models/loras")),
        (Kind.LORA, Path("/elsewhere/loras")),
        (Kind.VAE, tmp_path / "webui/models/VAE"),
    ]
    assert "configs" in caplog.text
    folders = find_folders(configure(tmp_path, "--extra-model-paths", str(file)))
    assert folders.of(Kind.LORA)[-1] == Path("/elsewhere/loras")
    assert Path("/elsewhere/loras") in folders.adopted


def test_without_a_base_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    assert folders_of_comfyui(written(tmp_path, "mine:\n  loras: my/loras\n")) == [(Kind.LORA, tmp_path / "my/loras")]


@pytest.mark.parametrize("text", ["", "# nothing\n", "a:\n"])
def test_a_file_that_names_nothing(text: str, tmp_path: Path) -> None:
    assert folders_of_comfyui(written(tmp_path, text)) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not valid YAML in line"),
        ("- a\n", "no sections"),
        ("a: text\n", "'a' is no list of kinds"),
        ("a:\n  loras: 3\n", "'loras' is no folder"),
        ("a:\n  loras: [1]\n", "'loras' is no folder"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("[" * 100_000, "not valid YAML"),
        ("a:\n  loras: |\n" + "    x\n" * 1001, "more than 1000 folders"),
        ("#" * (2**20 + 1), "larger than"),
    ],
)
def test_a_damaged_file_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=words):
        folders_of_comfyui(written(tmp_path, text))


def test_a_bomb_of_aliases_is_small_here(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(BadFile, match="no list of kinds"):
        folders_of_comfyui(written(tmp_path, "\n".join(lines)))


def test_a_folder_of_ours_is_never_anothers(tmp_path: Path) -> None:
    ours = ModelFolders.below(tmp_path)
    assert ours.adopt([(Kind.LORA, tmp_path / "Lora")]) == ours
