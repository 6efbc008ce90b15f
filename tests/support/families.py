"""What each family's config needs beside the fields that all tiny models have.

A family is a model type of transformers, and after a hyphen what is special about it. One that is
not named in `SETTINGS` takes the common fields alone.
"""

from __future__ import annotations

from typing import Any

CONTEXT = 256
"""Longest sequence that a tiny model takes, in tokens (bytes, that is)."""

WINDOW = 6
"""Positions that layers with a sliding window see: fewer than most prompts of the tests have."""

_SLIDING: dict[str, Any] = {"sliding_window": WINDOW}
_EVERY_SECOND = _SLIDING | {
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
_LARGE = {"initializer_range": 0.6}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
_SMALL_EXPERTS = _EXPERTS | {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
_ROUTED = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 32,
}
_LATENT = {
    "num_key_value_heads": 4,
    "head_dim": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
}
"""Keys and values made from a latent vector (DeepSeek); ``head_dim`` is that of the rotary part."""

SETTINGS: dict[str, dict[str, Any]] = {
    # Rows of 'llama3' read beyond the length that the embeddings were made for.
    "llama-llama3": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": CONTEXT // 32,
        },
    },
    "llama-biased": {"attention_bias": True, "mlp_bias": True},
    "mistral-sliding": _SLIDING,
    "qwen2-sliding": _EVERY_SECOND | {"use_sliding_window": True, "max_window_layers": 2},
    # Caps so low that leaving them out changes the answers.
    "gemma2": _SLIDING
    | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 10.0},
    "gemma3_text": _SLIDING | {"query_pre_attn_scalar": 8, "sliding_window_pattern": 2},
    "vaultgemma": _SLIDING
    | {"query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 10.0},
    "gpt_oss": _SLIDING
    | {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        # As in the released models, but for the length.
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 150_000.0,
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": CONTEXT // 32,
        },
    },
    # With the usual settings, rows of the following ones give too few different answers.
    "falcon": {"ffn_hidden_size": 64},
    "falcon-alibi": {
        "alibi": True,
        "multi_query": False,
        "parallel_attn": False,
        "bias": True,
        "initializer_range": 0.6,
    },
    "gpt_neox": _LARGE,
    "gpt_neox-sequential": _LARGE | {"use_parallel_residual": False},
    "gpt2": {"n_inner": 64},
    "gptj": {"rotary_dim": 4, "n_inner": 64, "initializer_range": 0.9},
    "codegen": {"rotary_dim": 4, "n_inner": 64},
    "gpt_neo": {
        "num_layers": 4,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
        "window_size": WINDOW,
    },
    "gpt_bigcode": {"n_inner": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "opt-norm-after": {"ffn_dim": 64, "word_embed_proj_dim": 32, "do_layer_norm_before": False},
    "xglm": {"ffn_dim": 64, "attention_heads": 4, "init_std": 0.6},
    "phi": _LARGE,
    "nanochat": {"initializer_range": 0.45},
    "mpt": {"max_seq_len": CONTEXT, "expansion_ratio": 2},
    "mixtral": _EXPERTS,
    "phimoe": _EXPERTS,
    "olmoe": _EXPERTS,
    "flex_olmo": _EXPERTS,
    "granitemoe": _EXPERTS | {"residual_multiplier": 0.5, "attention_multiplier": 0.4},
    "qwen2_moe": _SMALL_EXPERTS,
    "qwen3_moe": _SMALL_EXPERTS,
    "deepseek_v2": _LATENT | _ROUTED,
    "deepseek_v3": _LATENT | _ROUTED,
    "glm4_moe": _ROUTED,
    "dots1": _ROUTED,
    "solar_open": _ROUTED,
    "minimax_m2": _SMALL_EXPERTS,
    "exaone_moe": _EVERY_SECOND | _SMALL_EXPERTS,
    "granitemoeshared": _EXPERTS | {"residual_multiplier": 0.5, "attention_multiplier": 0.4},
    "afmoe": _SMALL_EXPERTS | _SLIDING | {"num_shared_experts": 1, "global_attn_every_n_layers": 2},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32},
    "hunyuan_v1_moe": {"num_experts": 4, "moe_topk": 2},
    "granite": {
        "residual_multiplier": 0.5,
        "embedding_multiplier": 2.0,
        "attention_multiplier": 0.4,
        "logits_scaling": 2.0,
    },
    "cohere2": _EVERY_SECOND,
    "exaone4": _EVERY_SECOND | {"sliding_window_pattern": 2},
    "olmo3": _EVERY_SECOND,
    "smollm3": {"no_rope_layer_interval": 2},
    "ministral": _SLIDING,
    "llama4_text": {
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "intermediate_size_mlp": 64,
        "interleave_moe_layer_step": 2,
        "attention_chunk_size": 8,
        "no_rope_layers": [1, 0, 1, 0],
    },
}

WITHOUT: dict[str, tuple[str, ...]] = {
    "falcon": ("head_dim",),
    "codegen": ("head_dim",),
}
"""Common fields that a model type derives from others, and that cannot be set."""

_CAUSAL = """
llama llama-llama3 llama-biased mistral mistral-sliding mixtral ministral ministral3
qwen2 qwen2-sliding qwen3 qwen2_moe qwen3_moe
gemma gemma2 gemma3_text vaultgemma
phi phi3 phimoe
gpt2 gptj gpt_neo gpt_neox gpt_neox-sequential gpt_bigcode gpt_oss codegen
opt opt-norm-after xglm biogpt bloom falcon falcon-alibi mpt stablelm persimmon
cohere cohere2 olmo olmo2 olmo3 olmoe flex_olmo
granite granitemoe starcoder2 deepseek_v2 deepseek_v3
glm glm4 glm4_moe smollm3 nemotron seed_oss llama4_text
apertus exaone4 helium arcee ernie4_5 ernie4_5_moe hunyuan_v1_dense hunyuan_v1_moe
jais2 bitnet diffllama nanochat dots1 solar_open afmoe jetmoe
hyperclovax internlm3 exaone_moe minimax_m2 granitemoeshared gpt_neox_japanese
"""

CAUSAL = tuple(_CAUSAL.split())
"""Decoders that are built from their configs: common families, and more multilingual ones."""

_NO_REGISTRY = "its attention does not go through transformers' AttentionInterface"

EXPANDED: dict[str, str] = {
    **dict.fromkeys(
        ("gpt_neo", "bloom", "falcon", "falcon-alibi", "mpt", "xglm"),
        _NO_REGISTRY,
    ),
    "gpt_neox_japanese": _NO_REGISTRY,
    "diffllama": "its log-probabilities differ",  # it attends twice, with other values each time
    "jetmoe": "its cache holds something else than the keys of its attention",
}
"""Families that take the path of expanded caches, and why not the faster one."""

REFUSED: dict[str, dict[str, Any]] = {
    "mamba": {},
    "rwkv": {"attention_hidden_size": 32},
    "jamba": {"num_experts": 2},
    "recurrent_gemma": {},
    "qwen3_next": {},
    "falcon_h1": {},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "minimax": {},
}
"""Recurrent and hybrid model types, and what their configs need."""
