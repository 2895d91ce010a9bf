"""Tiny random Flux.2 checkpoints: the whole architecture at a width that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import nn
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedModel,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.tiny_models import write_folder
from tests.tiny_texts import VOCABULARY, write_qwen_tokenizer
from tests.tiny_z_image import write_chat_tokenizer

WIDTH = 16  # of Qwen
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0,
    "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
    "max_image_seq_len": 4096, "time_shift_type": "exponential",
}  # fmt: skip
INDEX = {
    "_class_name": "Flux2KleinPipeline", "_diffusers_version": "0.42.1", "is_distilled": False,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"], "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "transformer": ["diffusers", "Flux2Transformer2DModel"], "vae": ["diffusers", "AutoencoderKLFlux2"],
}  # fmt: skip

DEV_INDEX = {key: value for key, value in INDEX.items() if key != "is_distilled"} | {
    "_class_name": "Flux2Pipeline", "text_encoder": ["transformers", "Mistral3ForConditionalGeneration"],
    "tokenizer": ["transformers", "PixtralProcessor"],
}  # fmt: skip
MARKS = "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"
MISTRAL_CHAT = (
    "<s>{% for message in messages %}{% if message['role'] == 'system' %}"
    "[SYSTEM_PROMPT]{{ message['content'][0]['text'] }}[/SYSTEM_PROMPT]"
    "{% else %}[INST]{{ message['content'][0]['text'] }}[/INST]{% endif %}{% endfor %}"
)


def make_networks(kind: str = "klein", seed: int = 0) -> dict[str, nn.Module]:
    """Return the networks of a tiny "klein" or "dev", with random weights that react to the prompt."""
    torch.manual_seed(seed)
    transformer = Flux2Transformer2DModel(
        in_channels=128, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * WIDTH, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=kind == "dev",
    )  # fmt: skip
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64,
        block_out_channels=(16, 16, 32, 32), layers_per_block=1, latent_channels=32, norm_num_groups=8,
    )  # fmt: skip
    vae.bn.running_mean.normal_(std=0.3)
    vae.bn.running_var.uniform_(0.5, 2.0)
    text = make_mistral() if kind == "dev" else make_qwen()
    networks = {"transformer": transformer, "vae": vae, "text_encoder": text}
    return {name: network.eval() for name, network in networks.items()}


def make_qwen() -> PreTrainedModel:
    """Return a Qwen 3 of as many layers as are looked at."""
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=30, head_dim=8,
            num_attention_heads=2, num_key_value_heads=1, rope_theta=1e6,
        )
    )  # fmt: skip
    model.model.embed_tokens.weight.data.normal_(std=0.5)
    return model


def make_mistral() -> PreTrainedModel:
    """Return a Mistral Small, eyes included, of as many layers as are looked at."""
    text = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=31, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, rope_theta=1e9, sliding_window=None,
    )  # fmt: skip
    eyes = PixtralVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    model = Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=eyes))
    model.model.language_model.embed_tokens.weight.data.normal_(std=0.5)
    return model


def write_mistral_tokenizer(path: Path) -> None:
    """Write a tokenizer with what is said around a text as Mistral has it; rows are filled up before the text."""
    write_qwen_tokenizer(path)
    tokenizer = Qwen2Tokenizer.from_pretrained(path)
    tokenizer.add_special_tokens({"additional_special_tokens": [*MARKS], "bos_token": "<s>", "pad_token": "<pad>"})
    tokenizer.padding_side = "left"
    tokenizer.chat_template = MISTRAL_CHAT
    tokenizer.save_pretrained(path)


def make_folder(path: Path, kind: str = "klein", seed: int = 0, *, distilled: bool = False) -> Path:
    """Write a diffusers folder to `path` and return it."""
    index = DEV_INDEX if kind == "dev" else INDEX | {"is_distilled": distilled}
    write_folder(path, make_networks(kind, seed), index, SCHEDULER)
    (write_mistral_tokenizer if kind == "dev" else write_chat_tokenizer)(path / "tokenizer")
    return path
