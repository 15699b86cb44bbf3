#!/usr/bin/env python3
"""Makes tests/families/<name>: a tiny model with random weights, tokens, and the logits of transformers.

    python3 tests/families/make.py NAME...     (needs torch, transformers and safetensors)

Each entry of FAMILIES is the class, its config, and what is done to the model after it was made. Weights are drawn from
a fixed seed and scaled so that attention, norms and the softmax have structure; logits are computed in float32 with
eager attention, each of the two sequences alone, without a cache.
"""
import copy
import json
import os
import sys

import numpy
import safetensors.torch
import torch
import transformers

SEQUENCES, TOKENS = 2, 24
HERE = os.path.dirname(os.path.abspath(__file__))

DEEPSEEK = dict(vocab_size=80, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=3,
                num_attention_heads=2, num_key_value_heads=2, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16,
                v_head_dim=12, n_shared_experts=1, first_k_dense_replace=1, max_position_embeddings=64)


DEEPSEEK_V1 = dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                   num_key_value_heads=2, max_position_embeddings=64)
LEADING = dict(n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=16, n_shared_experts=2,
               first_k_dense_replace=1)

MIXTURE = dict(vocab_size=72, hidden_size=32, intermediate_size=40, moe_intermediate_size=16, num_hidden_layers=3,
               num_attention_heads=2, n_shared_experts=1, n_routed_experts=6, num_experts_per_tok=2,
               first_k_dense_replace=1, max_position_embeddings=64)


def bias_of_choice(model):
    generator = torch.Generator().manual_seed(11)
    for name, b in sorted(model.named_buffers()):
        if name.endswith("e_score_correction_bias"):
            b.copy_((0.2 * torch.randn(b.shape, generator=generator)).to(torch.bfloat16))


def bias_parameters(model):
    generator = torch.Generator().manual_seed(11)
    for name, p in sorted(model.named_parameters()):
        if name.endswith("e_score_correction_bias"):
            with torch.no_grad():
                p.copy_(0.2 * torch.randn(p.shape, generator=generator))


def layer_scalars(model):
    for i, layer in enumerate(model.model.layers):
        layer.layer_scalar.copy_(torch.tensor([0.7 + 0.2 * i]).to(torch.bfloat16))


def expert_scales(model):
    """Routers that choose, and experts of unlike weight."""
    layer_scalars(model)
    generator = torch.Generator().manual_seed(11)
    for layer in model.model.layers:
        for p, mean in ((layer.router.scale, 4.0), (layer.router.per_expert_scale, 1.0)):
            with torch.no_grad():
                p.copy_(mean * (1 + 0.3 * torch.randn(p.shape, generator=generator)))


def mixture_of_deepseek(model):
    """Transformers has no class for DeepSeek v1: Llama's attention with the mixture of V2 behind the first layer."""
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

    config = transformers.DeepseekV2Config(**DEEPSEEK_V1, **LEADING, topk_method="greedy", norm_topk_prob=False)
    config._attn_implementation = config._experts_implementation = "eager"
    for layer in list(model.model.layers)[1:]:
        layer.mlp = DeepseekV2Moe(config).eval()
    scramble(model)


def further_layer(tensors):
    """Behind the last layer one that predicts a further token; what it holds does not count."""
    generator = torch.Generator().manual_seed(13)
    last = {name: t for name, t in tensors.items() if name.startswith("model.layers.2.")}
    for name, t in last.items():
        tensors[name.replace("layers.2.", "layers.3.")] = torch.randn(t.shape, generator=generator).to(t.dtype)
    for name, shape in {"enorm": (32,), "hnorm": (32,), "eh_proj": (32, 64), "shared_head.norm": (32,)}.items():
        tensors[f"model.layers.3.{name}.weight"] = torch.randn(shape, generator=generator).to(torch.bfloat16)


def split_experts(tensors):
    """Experts one by one, as DeepSeek v1 publishes them."""
    for name in [n for n in tensors if ".experts." in n and tensors[n].dim() == 3]:
        stem, t = name.rsplit(".", 1)[0], tensors.pop(name)
        for i, w in enumerate(t):
            parts = dict(zip(("gate_proj", "up_proj"), w.chunk(2))) if "gate_up" in name else {"down_proj": w}
            tensors.update({f"{stem}.{i}.{k}.weight": v.contiguous().clone() for k, v in parts.items()})


# name: (class of the model, class of its config, keyword arguments of the config)
FAMILIES = {
    # RoPE on half of a head, biases, norms on q and k, groups
    "glm4_moe": (
        "Glm4MoeForCausalLM",
        "Glm4MoeConfig",
        dict(MIXTURE, num_key_value_heads=1, attention_bias=True, use_qk_norm=True, n_group=2, topk_group=1,
             routed_scaling_factor=1.5, head_dim=16),
        bias_of_choice,
    ),
    "dots1": (
        "Dots1ForCausalLM",
        "Dots1Config",
        dict(MIXTURE, num_key_value_heads=2, n_group=1, topk_group=1, routed_scaling_factor=2.5, norm_topk_prob=True,
             n_shared_experts=2),
        bias_of_choice,
    ),
    # gate and up of all experts in one tensor; factors; with a shared expert the same again
    "granitemoe": (
        "GraniteMoeForCausalLM",
        "GraniteMoeConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, num_local_experts=5, num_experts_per_tok=2, max_position_embeddings=64,
             embedding_multiplier=1.7, logits_scaling=2.5, residual_multiplier=0.6, attention_multiplier=0.3,
             tie_word_embeddings=True, pad_token_id=0),
    ),
    "granitemoe_shared": (
        "GraniteMoeSharedForCausalLM",
        "GraniteMoeSharedConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, num_local_experts=4, num_experts_per_tok=3, shared_intermediate_size=40,
             max_position_embeddings=64, attention_multiplier=0.2, logits_scaling=0.5, pad_token_id=0),
    ),
    # experts [expert, in, out] with gate and up in turn, sinks, a window in every other layer, YaRN
    "gpt_oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, num_local_experts=5, num_experts_per_tok=2, sliding_window=6,
             max_position_embeddings=64, swiglu_limit=2.0, swiglu_alpha=1.5, pad_token_id=0, eos_token_id=1,
             rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, beta_fast=4.0, beta_slow=1.0,
                                  truncate=True, original_max_position_embeddings=16)),
    ),
    "bert": (
        "BertModel",
        "BertConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=40, type_vocab_size=2),
    ),
    "nomic_bert": (
        "NomicBertModel",
        "NomicBertConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
             max_position_embeddings=64),
    ),
    "roberta": (
        "RobertaModel",
        "RobertaConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
             max_position_embeddings=42, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1),
    ),
    "olmoe": (
        "OlmoeForCausalLM",
        "OlmoeConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, num_experts=6, num_experts_per_tok=2, max_position_embeddings=64,
             pad_token_id=1, eos_token_id=2),
    ),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=16,
             shared_expert_intermediate_size=40, max_position_embeddings=64),
    ),
    "qwen3_5": (
        "Qwen3_5ForCausalLM",
        "Qwen3_5TextConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, linear_conv_kernel_dim=4, linear_key_head_dim=16,
             linear_value_head_dim=16, linear_num_key_heads=2, linear_num_value_heads=6,
             max_position_embeddings=64, layer_types=["linear_attention", "full_attention"] * 2,
             rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25, mrope_section=[1, 1, 0],
                                  mrope_interleaved=True)),
    ),
    "qwen3_5_moe": (
        "Qwen3_5MoeForCausalLM",
        "Qwen3_5MoeTextConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, linear_conv_kernel_dim=4, linear_key_head_dim=16,
             linear_value_head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, num_experts=6,
             num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=24,
             max_position_embeddings=64,
             rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25, mrope_section=[1, 1, 0],
                                  mrope_interleaved=True)),
    ),
    "qwen3_next": (
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, linear_conv_kernel_dim=4, linear_key_head_dim=16,
             linear_value_head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, num_experts=6,
             num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=24,
             max_position_embeddings=64, layer_types=["linear_attention", "full_attention"] * 2),
    ),
    "qwen3": (
        "Qwen3ForCausalLM",
        "Qwen3Config",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, max_position_embeddings=64, rope_theta=5000.0),
    ),
    # longer than the original context: the long factors; a window, RoPE on half of a head
    "phi3": (
        "Phi3ForCausalLM",
        "Phi3Config",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, original_max_position_embeddings=16, sliding_window=10,
             pad_token_id=0, bos_token_id=1, eos_token_id=2,
             rope_parameters=dict(rope_type="longrope", rope_theta=5000.0, partial_rotary_factor=0.5,
                                  short_factor=[1.0, 1.1, 1.3], long_factor=[1.2, 2.5, 4.0],
                                  original_max_position_embeddings=16)),
    ),
    # short enough for the short factors; an attention factor of its own
    "phi3_short": (
        "Phi3ForCausalLM",
        "Phi3Config",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, max_position_embeddings=2048, original_max_position_embeddings=512,
             pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
             rope_parameters=dict(rope_type="longrope", rope_theta=5000.0, partial_rotary_factor=1.0,
                                  short_factor=[1.0, 1.1, 1.3, 1.4, 1.5, 1.9], attention_factor=1.2,
                                  long_factor=[1.2, 2.5, 4.0, 5.0, 6.0, 7.0],
                                  original_max_position_embeddings=512)),
    ),
    # tied, and no biases in attention: stock's loader wants an output matrix and those biases all the same
    "gptneox_tied": (
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             max_position_embeddings=64, tie_word_embeddings=True, attention_bias=False,
             rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5),
             bos_token_id=1, eos_token_id=2),
    ),
    "falcon": (  # of the smaller models: one key/value head, one norm
        "FalconForCausalLM",
        "FalconConfig",
        dict(vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
             multi_query=True, new_decoder_architecture=False, parallel_attn=True,
             bos_token_id=1, eos_token_id=2),
    ),
    "falcon_groups": (  # of the larger ones, and an output matrix of its own
        "FalconForCausalLM",
        "FalconConfig",
        dict(vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_kv_heads=2, new_decoder_architecture=True, parallel_attn=True, ffn_hidden_size=96,
             tie_word_embeddings=False, bos_token_id=1, eos_token_id=2),
    ),
    "granite": (
        "GraniteForCausalLM",
        "GraniteConfig",
        dict(vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
             intermediate_size=64, num_key_value_heads=2,
             attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.4, logits_scaling=1.7,
             tie_word_embeddings=True, attention_bias=True),
    ),
    "stablelm": (
        "StableLmForCausalLM",
        "StableLmConfig",
        dict(vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
             intermediate_size=64, num_key_value_heads=2, use_qkv_bias=True,
             rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
    ),
    "stablelm_parallel": (  # and a norm for each head
        "StableLmForCausalLM",
        "StableLmConfig",
        dict(vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
             intermediate_size=64, num_key_value_heads=2, qk_layernorm=True,
             use_parallel_residual=True,
             rope_parameters=dict(rope_type="default", rope_theta=5000.0, partial_rotary_factor=0.5)),
    ),
    "bitnet": (
        "BitNetForCausalLM",
        "BitNetConfig",
        dict(vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
             intermediate_size=64, num_key_value_heads=2, tie_word_embeddings=True,
             bos_token_id=1, eos_token_id=2),
    ),
    "bitnet_silu": (  # with the activation that stock's runtime knows
        "BitNetForCausalLM",
        "BitNetConfig",
        dict(vocab_size=80, hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
             intermediate_size=64, num_key_value_heads=2, tie_word_embeddings=True, hidden_act="silu",
             bos_token_id=1, eos_token_id=2),
    ),
    "mistral3": (
        "Ministral3ForCausalLM",
        "Ministral3Config",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16,
             max_position_embeddings=256, pad_token_id=0,
             rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0,
                                  original_max_position_embeddings=64, mscale=1.0, mscale_all_dim=1.0,
                                  llama_4_scaling_beta=0.1)),
    ),
    # the numbers in text_config, other names, a part that sees
    "mistral3_sight": (
        "Mistral3ForConditionalGeneration",
        "Mistral3Config",
        dict(text_config=dict(model_type="mistral", vocab_size=80, hidden_size=48, intermediate_size=64,
                              num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                              max_position_embeddings=64, sliding_window=None, tie_word_embeddings=False),
             vision_config=dict(model_type="pixtral", hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                num_attention_heads=2, head_dim=8, image_size=16, patch_size=8),
             tie_word_embeddings=False, image_token_index=5),
    ),
    "hunyuan_dense": (
        "HunYuanDenseV1ForCausalLM",
        "HunYuanDenseV1Config",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16,
             tie_word_embeddings=True,
             rope_parameters=dict(rope_type="dynamic", rope_theta=100.0, alpha=20.0, factor=1.0)),
    ),
    "bloom": (  # a number of heads that is no power of two
        "BloomForCausalLM",
        "BloomConfig",
        dict(vocab_size=80, hidden_size=48, n_layer=2, n_head=6),
    ),
    "mpt": (
        "MptForCausalLM",
        "MptConfig",
        dict(vocab_size=80, d_model=48, n_layers=2, n_heads=4, max_seq_len=64, attn_config=dict(clip_qkv=1.5)),
    ),
    "phi2": (
        "PhiForCausalLM",
        "PhiConfig",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2),
    ),
    "nemotron": (
        "NemotronForCausalLM",
        "NemotronConfig",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, attention_bias=True, bos_token_id=1, eos_token_id=2, pad_token_id=0),
    ),
    "starcoder": (
        "GPTBigCodeForCausalLM",
        "GPTBigCodeConfig",
        dict(vocab_size=80, n_embd=48, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2),
    ),
    "glm4": (
        "Glm4ForCausalLM",
        "Glm4Config",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16,
             bos_token_id=1, eos_token_id=2, pad_token_id=0),
    ),
    "chatglm": (
        "GlmForCausalLM",
        "GlmConfig",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=12,
             tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0),
    ),
    "seed_oss": (
        "SeedOssForCausalLM",
        "SeedOssConfig",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16,
             bos_token_id=1, eos_token_id=2, pad_token_id=0),
    ),
    "arcee": (
        "ArceeForCausalLM",
        "ArceeConfig",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0),
    ),
    "gptj": (
        "GPTJForCausalLM",
        "GPTJConfig",
        dict(vocab_size=80, n_embd=48, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2, rotary_dim=8),
    ),
    "ernie4_5": (
        "Ernie4_5ForCausalLM",
        "Ernie4_5Config",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16,
             bos_token_id=1, eos_token_id=2, pad_token_id=0),
    ),
    # a class of its own that transformers has not: Granite computes the same with these factors (REWRITE)
    "minicpm": (
        "GraniteForCausalLM",
        "GraniteConfig",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2,
             attention_multiplier=12 ** -0.5, embedding_multiplier=12.0, residual_multiplier=1.4 / 2 ** 0.5,
             logits_scaling=2.0, bos_token_id=1, eos_token_id=2, pad_token_id=0),
    ),
    "llama_yarn": (
        "LlamaForCausalLM",
        "LlamaConfig",
        dict(vocab_size=80, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64,
             rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, attention_factor=1.3,
                                  original_max_position_embeddings=16)),
    ),
    # betas of its own, which stock reads no key for
    "qwen3_yarn": (
        "Qwen3ForCausalLM",
        "Qwen3Config",
        dict(vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, head_dim=32, max_position_embeddings=64,
             rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, beta_fast=2.5, beta_slow=0.2,
                                  original_max_position_embeddings=16)),
    ),
    "qwen2_yarn": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        dict(vocab_size=80, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, max_position_embeddings=64,
             rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=8.0, mscale=0.7, mscale_all_dim=1.2,
                                  original_max_position_embeddings=12)),
    ),
    "gemma": (
        "GemmaForCausalLM",
        "GemmaConfig",
        dict(vocab_size=80, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=1, head_dim=16, max_position_embeddings=64),
    ),
    # windows where no period has them, two bases, scaling of the layers that see all alone
    "gemma3": (
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, head_dim=16, max_position_embeddings=64, sliding_window=7,
             query_pre_attn_scalar=24, final_logit_softcapping=10.0,
             layer_types=["full_attention", "sliding_attention", "full_attention", "sliding_attention"],
             rope_parameters=dict(full_attention=dict(rope_type="linear", factor=2.0, rope_theta=5000.0),
                                  sliding_attention=dict(rope_type="default", rope_theta=100.0))),
    ),
    # the numbers in text_config, other names, a part that sees
    "gemma3_sight": (
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        dict(text_config=dict(vocab_size=80, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                              num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=64,
                              sliding_window=7, sliding_window_pattern=3, query_pre_attn_scalar=16),
             vision_config=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                                image_size=16, patch_size=8), mm_tokens_per_image=4, boi_token_index=3,
             eoi_token_index=4, image_token_index=5),
    ),
    "command_r": (
        "CohereForCausalLM",
        "CohereConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, logit_scale=0.25, use_qk_norm=True, bos_token_id=1,
             eos_token_id=2),
    ),
    "cohere2": (
        "Cohere2ForCausalLM",
        "Cohere2Config",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, logit_scale=0.5, sliding_window=7, bos_token_id=1,
             eos_token_id=2, rotary_pct=1.0),
    ),
    "olmo": (
        "OlmoForCausalLM",
        "OlmoConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, clip_qkv=1.5, pad_token_id=1, eos_token_id=2),
    ),
    # YaRN in the layers that see all, none in those with a window
    "olmo3": (
        "Olmo3ForCausalLM",
        "Olmo3Config",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=4, max_position_embeddings=64, sliding_window=7, pad_token_id=1, eos_token_id=2,
             rope_parameters=dict(full_attention=dict(rope_type="yarn", rope_theta=500.0, factor=4.0, beta_fast=4.0,
                                                      beta_slow=1.0, attention_factor=1.2,
                                                      original_max_position_embeddings=16),
                                  sliding_attention=dict(rope_type="default", rope_theta=500.0))),
    ),
    "smollm3": (
        "SmolLM3ForCausalLM",
        "SmolLM3Config",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, no_rope_layers=[1, 0, 1], bos_token_id=1,
             eos_token_id=2, pad_token_id=0, rope_parameters=dict(rope_type="default", rope_theta=500.0)),
    ),
    "exaone4": (
        "Exaone4ForCausalLM",
        "Exaone4Config",
        dict(vocab_size=72, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, sliding_window=7, sliding_window_pattern=4,
             rope_parameters=dict(rope_type="llama3", rope_theta=50000.0, factor=8.0, low_freq_factor=1.0,
                                  high_freq_factor=4.0, original_max_position_embeddings=32)),
    ),
    # a window that no layer has: no heads turn
    "exaone4_full": (
        "Exaone4ForCausalLM",
        "Exaone4Config",
        dict(vocab_size=48, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, sliding_window=7, layer_types=["full_attention"] * 2),
    ),
    # its first layer is dense; scores by softmax, not scaled to a sum of one
    "deepseek": ("LlamaForCausalLM", "LlamaConfig", DEEPSEEK_V1, mixture_of_deepseek),
    # a layer behind the last one, which is left out
    "glm4_moe_further": (
        "Glm4MoeForCausalLM",
        "Glm4MoeConfig",
        dict(MIXTURE, num_key_value_heads=2, head_dim=16, n_group=1, topk_group=1, num_nextn_predict_layers=1),
        bias_of_choice,
    ),
    # latent attention with compressed queries, groups, a bias for the choice, a layer that predicts further tokens
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        dict(DEEPSEEK, q_lora_rank=20, n_group=4, topk_group=2, n_routed_experts=12, num_experts_per_tok=3,
             routed_scaling_factor=2.5, norm_topk_prob=True, num_mtp_layers=0,
             rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, mscale=1.0, mscale_all_dim=1.0,
                                  original_max_position_embeddings=16)),
        bias_of_choice,
    ),
    # dense layers by a list, another epsilon
    "glm4_moe_lite": (
        "Glm4MoeLiteForCausalLM",
        "Glm4MoeLiteConfig",
        dict({k: v for k, v in DEEPSEEK.items() if k != "first_k_dense_replace"}, q_lora_rank=20, n_group=1,
             topk_group=1, n_routed_experts=4, num_experts_per_tok=2, mlp_layer_types=["dense", "dense", "sparse"]),
        bias_of_choice,
    ),
    # whole queries, no groups, weights as they are, YaRN whose magnitudes are not said
    "deepseek_v3_lite": (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        dict(DEEPSEEK, q_lora_rank=None, n_group=1, topk_group=1, n_routed_experts=4, num_experts_per_tok=2,
             routed_scaling_factor=1.5, norm_topk_prob=False, num_mtp_layers=0, tie_word_embeddings=True,
             rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0,
                                  original_max_position_embeddings=16)),
        bias_of_choice,
    ),
    # another magnitude for RoPE than for scores
    "deepseek_v2": (
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        dict(DEEPSEEK, q_lora_rank=24, n_group=3, topk_group=2, topk_method="greedy",
             n_routed_experts=6, num_experts_per_tok=2, routed_scaling_factor=3.0, n_shared_experts=2,
             rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, mscale=1.0, mscale_all_dim=0.5,
                                  original_max_position_embeddings=16)),
    ),
    # all of its parts; some tokens without layer inputs of their own
    "gemma3n": (
        "Gemma3nForCausalLM",
        "Gemma3nTextConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=48, num_hidden_layers=5, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, max_position_embeddings=64, sliding_window=7,
             vocab_size_per_layer_input=72, hidden_size_per_layer_input=8, altup_num_inputs=3,
             num_kv_shared_layers=2, laurel_rank=8, activation_sparsity_pattern=[0.8, 0.8, 0.0, 0.0, 0.0],
             layer_types=["sliding_attention", "full_attention", "sliding_attention", "sliding_attention",
                          "full_attention"],
             rope_parameters=dict(full_attention=dict(rope_type="default", rope_theta=5000.0),
                                  sliding_attention=dict(rope_type="default", rope_theta=100.0))),
    ),
    # input vectors of each layer, shared keys, and a wider FFN where they are shared
    "gemma4": (
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=40, num_hidden_layers=5, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, global_head_dim=16, max_position_embeddings=64, sliding_window=7,
             vocab_size_per_layer_input=80, hidden_size_per_layer_input=8, num_kv_shared_layers=2,
             use_double_wide_mlp=True, final_logit_softcapping=20.0,
             layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention",
                          "full_attention"],
             rope_parameters=dict(full_attention=dict(rope_type="proportional", partial_rotary_factor=0.25,
                                                      rope_theta=5000.0),
                                  sliding_attention=dict(rope_type="default", rope_theta=100.0))),
        layer_scalars,
    ),
    # keys as values, and heads of another number, in layers that see all; nothing of the above
    "gemma4_plain": (
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, global_head_dim=16, num_global_key_value_heads=1,
             attention_k_eq_v=True, max_position_embeddings=64, sliding_window=7, hidden_size_per_layer_input=0,
             layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
             rope_parameters=dict(full_attention=dict(rope_type="proportional", partial_rotary_factor=0.5,
                                                      rope_theta=5000.0),
                                  sliding_attention=dict(rope_type="default", rope_theta=100.0))),
        layer_scalars,
    ),
    # experts beside the FFN
    "gemma4moe": (
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        dict(vocab_size=80, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, global_head_dim=16, num_global_key_value_heads=1,
             attention_k_eq_v=True, max_position_embeddings=64, sliding_window=7, hidden_size_per_layer_input=0,
             enable_moe_block=True, num_experts=6, top_k_experts=2, moe_intermediate_size=24,
             final_logit_softcapping=20.0, layer_types=["sliding_attention", "sliding_attention", "full_attention"],
             rope_parameters=dict(full_attention=dict(rope_type="proportional", partial_rotary_factor=0.25,
                                                      rope_theta=5000.0),
                                  sliding_attention=dict(rope_type="default", rope_theta=100.0))),
        expert_scales,
    ),
    # a leading dense layer, shared experts, a bias for the choice
    "ernie4_5_moe": (
        "Ernie4_5_MoeForCausalLM",
        "Ernie4_5_MoeConfig",
        dict(vocab_size=72, hidden_size=32, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, moe_intermediate_size=24, moe_num_experts=6, moe_k=2,
             moe_num_shared_experts=2, moe_layer_start_index=1),
        bias_parameters,
    ),
}


def minicpm(config):
    for key in ("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"):
        del config[key]
    config.update(architectures=["MiniCPMForCausalLM"], model_type="minicpm", scale_emb=12, scale_depth=1.4,
                  dim_model_base=24)


def deepseek(config):
    config.update(LEADING, architectures=["DeepseekForCausalLM"], model_type="deepseek", moe_layer_freq=1,
                  norm_topk_prob=False, scoring_func="softmax")


REWRITE = {"minicpm": minicpm, "deepseek": deepseek}  # config.json for another class
RENAME = {"deepseek": split_experts, "glm4_moe_further": further_layer}  # what the file has beside or instead


def scramble(model):
    """Values with structure: matrices of unit gain, norms around one, biases that are not zero."""
    generator = torch.Generator().manual_seed(7)
    for name, p in sorted(model.named_parameters()):
        with torch.no_grad():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                p.copy_(noise * (1.5 / p.shape[-1] ** 0.5 if "embed" not in name else 1.0))
            elif "norm" in name.lower() or "ln_" in name:
                p.copy_((1.0 if name.endswith("weight") and p.abs().sum() != 0 else 0.0) + 0.2 * noise)
            else:
                p.copy_(0.3 * noise)


def result(model, ids):
    """The logits; of an encoder the states of the last layer."""
    if not hasattr(model, "lm_head") and not model.can_generate():
        return model(ids).last_hidden_state
    return model(ids, use_cache=False).logits


def make(name, dtype=torch.bfloat16):
    model_class, config_class, arguments = FAMILIES[name][:3]
    adjust = FAMILIES[name][3] if len(FAMILIES[name]) > 3 else None
    torch.manual_seed(1)
    config = getattr(transformers, config_class)(**arguments)
    config._attn_implementation = "eager"
    model = getattr(transformers, model_class)(config).eval().float()
    scramble(model)
    if adjust is not None:
        adjust(model)
    for p in model.parameters():
        p.data = p.data.to(dtype).float()
    folder = os.path.join(HERE, name)
    copy.deepcopy(model).to(dtype).save_pretrained(folder)  # a copy: buffers such as RoPE's stay float32
    if name in RENAME:
        path = os.path.join(folder, "model.safetensors")
        tensors = safetensors.torch.load_file(path)
        RENAME[name](tensors)
        safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    for extra in ("generation_config.json",):
        if os.path.exists(os.path.join(folder, extra)):
            os.remove(os.path.join(folder, extra))
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        text = json.load(f)
    REWRITE.get(name, lambda config: None)(text)
    with open(path, "w") as f:
        json.dump(text, f, indent=1, sort_keys=True)
        f.write("\n")
    tokens = numpy.random.default_rng(3).integers(0, getattr(config, "text_config", config).vocab_size, (SEQUENCES, TOKENS), dtype=numpy.int32)
    if model.base_model_prefix in ("roberta",):  # a padding token has no position of its own
        tokens[tokens == config.pad_token_id] += 1
    with torch.no_grad():
        logits = torch.cat([result(model, torch.tensor(row[None].astype(numpy.int64))) for row in tokens])
    tokens.astype("<i4").tofile(os.path.join(folder, "tokens.i32"))
    logits.float().numpy().astype("<f4").tofile(os.path.join(folder, "logits.f32"))
    print(name, tuple(logits.shape), "logits from", float(logits.min()), "to", float(logits.max()))


for family in sys.argv[1:]:
    make(family)
