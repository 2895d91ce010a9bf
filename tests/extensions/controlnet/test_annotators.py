from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
)

from extensions.controlnet.preprocessors import pose
from extensions.controlnet.preprocessors.annotators import fill
from extensions.controlnet.preprocessors.depth import to_normals
from extensions.controlnet.preprocessors.hed import BLOCKS, Hed, find_edges, to_scribble
from extensions.controlnet.preprocessors.networked import networked
from extensions.controlnet.preprocessors.palette import ADE_COLOURS
from webui.errors import BadFile, NotFound

PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8))


def run(name: str, folder: Path, picture: Image.Image = PICTURE, **options: float) -> Image.Image:
    found = {each.name: each for each in networked(folder)}[name]
    return found.run(picture, found.options(resolution=64, **options))


def save_depth(folder: Path, estimation: str = "relative") -> DepthAnythingForDepthEstimation:
    torch.manual_seed(1)
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=28, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[4, 8, 16, 16], fusion_hidden_size=8,
        head_hidden_size=4, depth_estimation_type=estimation, max_depth=10 if estimation == "metric" else 1,
        patch_size=14,
    )  # fmt: skip
    network = DepthAnythingForDepthEstimation(config).eval()
    with torch.no_grad():
        network.head.conv3.weight.mul_(1e3)
        network.head.conv3.bias.fill_(1.0)
    network.save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 28, "width": 28}, keep_aspect_ratio=False).save_pretrained(folder)
    return network


def test_depth_is_what_the_network_says_with_the_nearest_white(tmp_path: Path) -> None:
    network = save_depth(tmp_path / "depth_anything_v2")
    map_ = run("depth_anything_v2", tmp_path)
    assert map_.size == (85, 64)
    grey = np.asarray(map_)[..., 0].astype(float)
    assert (grey.min(), grey.max()) == (0, 255)
    prepared = DPTImageProcessorPil.from_pretrained(tmp_path / "depth_anything_v2")(
        PICTURE.resize((85, 64), Image.Resampling.LANCZOS), return_tensors="pt"
    )
    with torch.inference_mode():
        expected = network(**prepared).predicted_depth
        expected = functional.interpolate(expected[None], (64, 85), mode="bicubic", align_corners=False)[0, 0].numpy()
    assert np.corrcoef(grey.ravel(), expected.ravel())[0, 1] > 0.99


def test_metres_are_turned_into_nearness(tmp_path: Path) -> None:
    save_depth(tmp_path / "depth_anything")
    save_depth(tmp_path / "depth_anything_v2", "metric")
    near = np.asarray(run("depth_anything", tmp_path), float)[..., 0]
    far = np.asarray(run("depth_anything_v2", tmp_path), float)[..., 0]
    assert np.corrcoef(near.ravel(), far.ravel())[0, 1] < -0.5


def test_normals_come_from_whichever_depth_network_is_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="depth_midas"):
        run("normal_depth", tmp_path)
    save_depth(tmp_path / "depth_anything_v2")
    assert run("normal_depth", tmp_path).size == (85, 64)


def test_the_normals_of_a_ball_face_outwards() -> None:
    rows, columns = np.mgrid[-32:32, -32:32] + 0.5
    nearness = np.sqrt(np.clip(1 - (rows**2 + columns**2) / 30**2, 0, 1)).astype(np.float32)
    normals = to_normals(nearness, background=0.2).astype(int)
    left, right, top, bottom = normals[32, 12], normals[32, 51], normals[12, 32], normals[51, 32]
    assert left[0] > 150 > 105 > right[0]  # red faces left
    assert top[1] > 150 > 105 > bottom[1]  # green faces up
    assert normals[32, 32, 2] > 250  # blue faces the viewer
    assert tuple(normals[0, 0]) == (128, 128, 255)  # the background does too
    lengths = np.linalg.norm((normals - 127.5) / 127.5, axis=2)
    assert np.abs(lengths - 1).max() < 0.02


def save_segmentation(folder: Path, classes: int = 150) -> SegformerForSemanticSegmentation:
    torch.manual_seed(2)
    config = SegformerConfig(
        num_labels=classes, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8, mlp_ratios=[1, 1, 1, 1], sr_ratios=[1, 1, 1, 1],
    )  # fmt: skip
    network = SegformerForSemanticSegmentation(config).eval()
    network.save_pretrained(folder)
    SegformerImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return network


def test_segments_have_the_colours_of_their_classes(tmp_path: Path) -> None:
    network = save_segmentation(tmp_path / "seg_ade20k")
    with torch.no_grad():
        network.decode_head.classifier.bias.zero_()[6] = 100.0
    network.save_pretrained(tmp_path / "seg_ade20k")
    assert run("segmentation", tmp_path).getcolors() == [(64 * 85, ADE_COLOURS[6])]  # road everywhere


@pytest.mark.parametrize("classes", [19, 151])
def test_a_network_of_other_classes_is_refused(tmp_path: Path, classes: int) -> None:
    save_segmentation(tmp_path / "seg_ade20k", classes)
    with pytest.raises(BadFile, match=f"knows {classes} classes"):
        run("segmentation", tmp_path)


def save_pose(folder: Path) -> VitPoseForPoseEstimation:
    torch.manual_seed(4)
    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, out_indices=[1],
    )  # fmt: skip
    network = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, num_labels=17)).eval()
    network.save_pretrained(folder)
    return network


def test_a_pose_is_drawn_where_the_network_sees_its_points(tmp_path: Path) -> None:
    save_pose(tmp_path / "vitpose")
    drawn = np.asarray(run("openpose", tmp_path, threshold_a=0))
    assert drawn.any()
    assert not np.asarray(run("openpose", tmp_path, threshold_a=1)).any()


def save_detector(folder: Path, name: str) -> None:
    torch.manual_seed(6)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[32, 32],
        patch_size=8, num_detection_tokens=3, id2label={0: "cat", 1: name}, label2id={"cat": 0, name: 1},
    )  # fmt: skip
    network = YolosForObjectDetection(config)
    with torch.no_grad():
        network.class_labels_classifier.layers[-1].bias[1] = 50
        network.bbox_predictor.layers[-1].weight.zero_()
        network.bbox_predictor.layers[-1].bias.copy_(torch.logit(torch.tensor([0.25, 0.5, 0.5, 0.8])))
    network.save_pretrained(folder)
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def test_people_are_found_by_the_detector_or_are_the_whole_picture(tmp_path: Path) -> None:
    picture = np.asarray(PICTURE)
    assert pose.find_people("openpose", tmp_path / "person_detector", picture) == ((0, 0, 64, 48),)
    save_detector(tmp_path / "person_detector", "person")
    boxes = pose.find_people("openpose", tmp_path / "person_detector", picture)
    assert len(boxes) == 3
    assert boxes[0] == pytest.approx((0, 4.8, 32, 43.2), abs=0.1)  # a quarter from the left, half as wide as all
    save_detector(tmp_path / "person_detector", "dog")
    assert pose.find_people("openpose", tmp_path / "person_detector", picture) == ()


def test_the_peak_of_a_heat_map_is_found_in_the_picture() -> None:
    rows, columns = np.mgrid[:16, :12]
    heat = np.exp(-((rows - 5) ** 2 + (columns - 8.2) ** 2) / 4).astype(np.float32)
    point = pose._peak(heat, (100, 200, 160, 280))
    assert abs(point.x - (100 + 8.7 / 12 * 60)) < 1.5
    assert abs(point.y - (200 + 5.5 / 16 * 80)) < 1.5
    box = pose._widen((0, 0, 100, 50), 0.75)
    assert (box[2] - box[0]) / (box[3] - box[1]) == pytest.approx(0.75)
    assert box[2] - box[0] == pytest.approx(125)


def test_a_skeleton_has_openposes_colours() -> None:
    points = [pose.Point(10 + 5 * index, 20 + 3 * index, 0.9) for index in range(17)]
    body = pose.to_openpose(points)
    assert len(body) == 18
    assert body[pose.NECK] == pose.Point((points[5].x + points[6].x) / 2, (points[5].y + points[6].y) / 2, 0.9)
    drawn = pose.draw_skeletons([body], 128, 128, 0.5)
    for point, colour in zip(body, pose.COLOURS, strict=True):
        assert tuple(drawn[round(point.y), round(point.x)]) == colour
    unsure = pose.draw_skeletons([tuple(point._replace(confidence=0.4) for point in body)], 128, 128, 0.5)
    assert not unsure.any()


def test_hed_computes_what_its_file_says(tmp_path: Path) -> None:
    (file := tmp_path / "hed" / "ControlNetHED.pth").parent.mkdir()
    torch.manual_seed(5)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Hed().state_dict().items()}
    weights = {name: torch.empty(shape).uniform_(-0.05, 0.05) for name, shape in shapes.items()}
    torch.save(weights, file)
    assert {"norm", "block1.convs.0.weight", "block5.convs.2.bias", "block3.projection.weight"} <= weights.keys()
    picture = np.asarray(PICTURE)
    values = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() - weights["norm"]
    maps = []
    for number, (_, _, count) in enumerate(BLOCKS, 1):
        values = functional.max_pool2d(values, 2) if number > 1 else values
        for index in range(count):
            name = f"block{number}.convs.{index}"
            values = functional.conv2d(values, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu()
        name = f"block{number}.projection"
        seen = functional.conv2d(values, weights[f"{name}.weight"], weights[f"{name}.bias"])
        maps.append(functional.interpolate(seen, picture.shape[:2], mode="bilinear"))
    expected = (torch.stack(maps).mean(0).sigmoid()[0, 0] * 255).numpy()
    assert expected.std() > 10
    edges = find_edges("hed", file, picture)
    assert edges.shape == picture.shape[:2]
    assert np.abs(edges - expected).max() <= 1
    safe = np.asarray(run("hed_safe", tmp_path, Image.new("RGB", (8, 3), "white")))  # smaller than it is halved
    assert safe.shape == (64, 171, 3)
    assert set(np.unique(safe)) <= {0, 127, 255}


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(BadFile, match="bias is not what it must be"):
        fill(network, {"weight": torch.zeros(2, 2)}, "hed", tmp_path / "ControlNetHED.pth")
    fill(network, {"weight": torch.ones(2, 2).half(), "bias": torch.ones(2)}, "hed", tmp_path / "ControlNetHED.pth")
    assert network.weight.dtype == torch.float32
    assert (network.weight == 1).all()


def test_scribbles_run_along_the_crests() -> None:
    soft = Image.new("L", (64, 64))
    ImageDraw.Draw(soft).line((5, 32, 58, 32), fill=200, width=9)
    scribble = to_scribble(np.asarray(soft))
    assert (scribble[32, 12:52] == 255).all()
    assert not scribble[:30].any()


@pytest.mark.parametrize("preprocessor", networked(Path("/nowhere/at/all")), ids=lambda each: each.name)
def test_what_is_missing_is_named_with_its_place(preprocessor: object, tmp_path: Path) -> None:
    found = {each.name: each for each in networked(tmp_path)}[preprocessor.name]
    with pytest.raises(NotFound, match="needs a file that is not there") as caught:
        found.run(PICTURE, found.options())
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint.startswith("Put ")


def test_a_broken_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "depth_anything"
    save_depth(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(BadFile, match=r"cannot use .*depth_anything"):
        run("depth_anything", tmp_path)
    save_depth(folder)
    weights = load_file(folder / "model.safetensors")
    del weights["head.conv3.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadFile, match=r"lacks 1 weights, head\.conv3\.weight"):
        run("depth_anything", tmp_path)
    save_depth(folder)
    (folder / "config.json").write_text("{not json")
    with pytest.raises(BadFile, match="cannot use"):
        run("depth_anything", tmp_path)
    (folder / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(BadFile, match="cannot use"):
        run("depth_anything", tmp_path)
