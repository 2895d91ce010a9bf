"""Tiny random models of other kinds than our families, as folders that diffusers' own pipelines wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel, UNet2DModel, VQModel
from diffusers.models import StableCascadeUNet
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
from torch import nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from tests.tiny_flux import write_piece_tokenizer
from tests.tiny_models import write_json, write_tokenizer

WIDTH = 32
LABELS = {"0": "tench, Tinca tinca", "207": "golden retriever"}
_AS_MADE: Mapping[str, Mapping[str, object]] = {
    "dit": {"id2label": LABELS},
    "cascade": {"vqgan": ["wuerstchen", "PaellaVQModel"]},
}
"""What the folders of the makers say and pipelines do not write."""


def make_folder(path: Path, kind: str) -> Path:
    """Write a folder of one of `KINDS` to `path` and return it."""
    path.mkdir(parents=True)
    torch.manual_seed(3)
    make_pipeline(path, kind).save_pretrained(path)
    index = json.loads((path / "model_index.json").read_text("utf-8"))
    write_json(path / "model_index.json", index | _AS_MADE.get(kind, {}))
    return path


def make_pipeline(path: Path, kind: str) -> DiffusionPipeline:
    """Return the pipeline itself; files of its tokenizers are left beside `path`."""
    pipeline = {**KINDS, "cascade": _cascade}[kind](path.with_name(f"{path.name}-words"))
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    return pipeline


def _dit(words: Path) -> DiffusionPipeline:
    transformer = diffusers.DiTTransformer2DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=2, in_channels=4,
        out_channels=8, num_embeds_ada_norm=1000,
    )  # fmt: skip
    with torch.no_grad():
        transformer.proj_out_2.weight.normal_(std=0.1)
    return diffusers.DiTPipeline(transformer, _vae(), diffusers.DDIMScheduler())


def _if(words: Path) -> DiffusionPipeline:
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=3, out_channels=6, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "SimpleCrossAttnDownBlock2D"), mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH, encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="text_proj", attention_head_dim=8, norm_num_groups=8, addition_embed_type="text",
        addition_embed_type_num_heads=2,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", beta_schedule="squaredcos_cap_v2")
    tokens, t5 = _t5_tokens(words), _t5()
    return diffusers.IFPipeline(tokens, t5, unet, scheduler, None, None, None, requires_safety_checker=False)


def _amused(words: Path) -> DiffusionPipeline:
    transformer = diffusers.UVit2DModel(
        hidden_size=WIDTH, use_bias=False, hidden_dropout=0.0, cond_embed_dim=WIDTH, micro_cond_encode_dim=2,
        micro_cond_embed_dim=10, encoder_hidden_size=WIDTH, vocab_size=32, codebook_size=32, in_channels=WIDTH,
        block_out_channels=WIDTH, num_res_blocks=1, downsample=False, upsample=False, block_num_heads=1,
        num_hidden_layers=1, num_attention_heads=1, attention_dropout=0.0, intermediate_size=WIDTH,
        layer_norm_eps=1e-6, ln_elementwise_affine=True, sample_size=16,
    )  # fmt: skip
    vqvae = _vq(levels=(16, 32, 32, 32), codes=32, lookup_from_codebook=True)
    scheduler = diffusers.AmusedScheduler(mask_token_id=31)
    return diffusers.AmusedPipeline(vqvae, _clip_tokens(words), _clip(), transformer, scheduler)


def _kandinsky3(words: Path) -> DiffusionPipeline:
    unet = diffusers.Kandinsky3UNet(
        in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=3,
        block_out_channels=(32, 64), cross_attention_dim=4, encoder_hid_dim=WIDTH,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=True, thresholding=False)
    tokens, t5 = _t5_tokens(words), _t5()
    return diffusers.Kandinsky3Pipeline(tokens, t5, unet, scheduler, _vq(levels=(16, 32, 32, 32), codes=16))


def _kandinsky22(words: Path) -> DiffusionPipeline:
    prior = diffusers.PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, embedding_dim=WIDTH, num_layers=1, additional_embeddings=4
    )
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH, image_size=32, projection_dim=WIDTH, intermediate_size=37, num_attention_heads=4,
            num_channels=3, num_hidden_layers=1, patch_size=16,
        )
    )  # fmt: skip
    with torch.no_grad():
        prior.clip_std.fill_(1.0)
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=8, addition_embed_type="image", cross_attention_dim=WIDTH, encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj", down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), layers_per_block=1,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", block_out_channels=(32, 64), attention_head_dim=4,
        norm_num_groups=8, resnet_time_scale_shift="scale_shift", class_embed_type=None,
    )  # fmt: skip
    prior_steps = diffusers.UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000, clip_sample_range=5.0
    )
    steps = diffusers.DDIMScheduler(beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return diffusers.KandinskyV22CombinedPipeline(
        unet, steps, _vq(levels=(32, 64), codes=12), prior, vision, _clip(), _clip_tokens(words), prior_steps, processor
    )


def _consistency(words: Path) -> DiffusionPipeline:
    unet = UNet2DModel(
        sample_size=32, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=8,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"), num_class_embeds=10,
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    )  # fmt: skip
    return diffusers.ConsistencyModelPipeline(unet, diffusers.CMStochasticIterativeScheduler())


def _cascade(words: Path) -> DiffusionPipeline:
    levels = {
        "conditioning_dim": 128, "block_out_channels": (32, 64), "num_attention_heads": (2, 4),
        "down_num_layers_per_block": (1, 1), "up_num_layers_per_block": (1, 1), "down_blocks_repeat_mappers": (1, 1),
        "up_blocks_repeat_mappers": (1, 1), "clip_text_pooled_in_channels": WIDTH,
        "block_types_per_layer": (("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"),) * 2,
    }  # fmt: skip
    prior = StableCascadeUNet(
        in_channels=16, out_channels=16, clip_image_in_channels=WIDTH, clip_text_in_channels=WIDTH,
        switch_level=(False,), **levels,
    )  # fmt: skip
    decoder = StableCascadeUNet(in_channels=4, out_channels=4, effnet_in_channels=16, patch_size=1, **levels)
    vqgan, tokens = PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2), _clip_tokens(words)
    steps, prior_steps = diffusers.DDPMWuerstchenScheduler(), diffusers.DDPMWuerstchenScheduler()
    return diffusers.StableCascadeCombinedPipeline(
        tokens, _clip(), decoder, steps, vqgan, prior, _clip(), tokens, prior_steps
    )


def _ldm(words: Path) -> DiffusionPipeline:
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, norm_num_groups=8,
    )  # fmt: skip
    bert = LDMBertModel(
        LDMBertConfig(
            vocab_size=49408, d_model=WIDTH, encoder_layers=1, encoder_ffn_dim=37, encoder_attention_heads=4,
            encoder_head_dim=8, max_position_embeddings=77,
        )
    )  # fmt: skip
    steps = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return diffusers.LDMTextToImagePipeline(_vae(), bert, _clip_tokens(words), unet, steps)


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=64, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 32, 32), layers_per_block=1, norm_num_groups=8,
    )  # fmt: skip


def _vq(levels: tuple[int, ...], codes: int, **settings: bool) -> VQModel:
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * len(levels), up_block_types=("UpDecoderBlock2D",) * len(levels),
        block_out_channels=levels, layers_per_block=1, latent_channels=4, norm_num_groups=8, num_vq_embeddings=codes,
        vq_embed_dim=4, **settings,
    )  # fmt: skip


def _clip() -> CLIPTextModelWithProjection:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=WIDTH, intermediate_size=37, num_hidden_layers=3, num_attention_heads=4,
        projection_dim=WIDTH, max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407, pad_token_id=49407,
    )  # fmt: skip
    return CLIPTextModelWithProjection(config)


def _clip_tokens(words: Path) -> CLIPTokenizer:
    write_tokenizer(words)
    return CLIPTokenizer.from_pretrained(words)


def _t5() -> T5EncoderModel:
    settings = {"vocab_size": 400, "d_model": WIDTH, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
    return T5EncoderModel(T5Config(**settings))


def _t5_tokens(words: Path) -> T5TokenizerFast:
    write_piece_tokenizer(words)
    return T5TokenizerFast.from_pretrained(words)


KINDS: Mapping[str, Callable[[Path], DiffusionPipeline]] = {
    "dit": _dit, "if": _if, "amused": _amused, "kandinsky3": _kandinsky3, "kandinsky22": _kandinsky22,
    "consistency": _consistency, "ldm": _ldm,
}  # fmt: skip
