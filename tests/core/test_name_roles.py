"""Roles by names: those that the usual families give their tensors, and nothing where a name doesn't tell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_folders import write_folder

import qacomp
from qacomp.tensors.name_roles import role_of

FAMILIES = {
    "bert.embeddings.word_embeddings.weight": "embedding",
    "bert.embeddings.position_embeddings.weight": "position table",
    "bert.embeddings.LayerNorm.weight": "norm",
    "bert.encoder.layer.0.attention.self.query.weight": "attention",
    "bert.encoder.layer.11.attention.output.dense.weight": "attention",
    "bert.encoder.layer.0.attention.output.LayerNorm.bias": "norm",
    "bert.encoder.layer.0.intermediate.dense.weight": "MLP",
    "bert.encoder.layer.0.output.dense.weight": "MLP",
    "bert.pooler.dense.weight": "head",
    "cls.predictions.transform.dense.weight": "head",
    "wte.weight": "embedding",
    "transformer.wpe.weight": "position table",
    "h.0.attn.c_attn.weight": "attention",
    "transformer.h.5.attn.c_proj.weight": "attention",
    "transformer.h.5.mlp.c_proj.weight": "MLP",
    "h.0.ln_1.weight": "norm",
    "transformer.ln_f.bias": "norm",
    "model.embed_tokens.weight": "embedding",
    "model.layers.0.self_attn.q_proj.weight": "attention",
    "model.layers.31.self_attn.k_proj.bias": "attention",
    "model.layers.0.self_attn.q_norm.weight": "norm",
    "model.layers.0.mlp.gate_proj.weight": "MLP",
    "model.layers.0.input_layernorm.weight": "norm",
    "model.norm.weight": "norm",
    "lm_head.weight": "head",
    "model.layers.0.block_sparse_moe.gate.weight": "router",
    "model.layers.0.block_sparse_moe.experts.7.w2.weight": "MLP",
    "model.layers.3.mlp.gate.weight": "router",
    "model.layers.3.mlp.experts.15.down_proj.weight": "MLP",
    "model.layers.3.mlp.shared_expert_gate.weight": "router",
    "gpt_neox.layers.0.attention.query_key_value.weight": "attention",
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": "MLP",
    "gpt_neox.embed_in.weight": "embedding",
    "embed_out.weight": "head",
    "decoder.block.0.layer.1.EncDecAttention.q.weight": "attention",
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": "position table",
    "encoder.block.2.layer.1.DenseReluDense.wi_0.weight": "MLP",
    "shared.weight": "embedding",
    "model.decoder.embed_positions.weight": "position table",
    "text_model.encoder.layers.0.mlp.fc1.weight": "MLP",
    "vision_model.embeddings.position_embedding.weight": "position table",
    "visual.positional_embedding": "position table",
    "blocks.0.attn.qkv.weight": "attention",
    "pos_embed": "position table",
    "patch_embed.proj.weight": "embedding",
    "unet/model.safetensors/transformer.h.0.mlp.c_fc.weight": "MLP",
}
NONE = [
    "w",
    "conv1.weight",
    "fc1.weight",
    "features.0.weight",
    "layer1.0.conv1.weight",
    "gate.weight",
    "",
    ".",
    "weight",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_usual_families(name: str) -> None:
    assert role_of(name) == FAMILIES[name]


@pytest.mark.parametrize("name", [*NONE, "layers.0." * 400])
def test_a_name_that_does_not_tell(name: str) -> None:
    assert role_of(name) is None


def test_tables_of_positions_and_norms_stay_exact(tmp_path: Path) -> None:
    names = ["wte.weight", "transformer.wpe.weight", "h.0.ln_1.weight", "h.0.attn.c_attn.weight", "lm_head.weight"]
    torch.manual_seed(0)
    state = {name: torch.randn(40) if FAMILIES[name] == "norm" else torch.randn(40, 40) for name in names}
    for model in (state, write_folder(tmp_path / "m", {"model.safetensors": state}, {})):
        result = qacomp.compress(model, output=tmp_path / "m.qac", k=4, stored_precision="exact")
        rows = {layer.name: layer for layer in result.layers}
        for name in names:
            exact = FAMILIES[name] in ("norm", "position table")
            assert (rows[name].k is None) == exact, name
            assert exact or str(rows[name].chosen).startswith(FAMILIES[name])
        back: dict[str, Any] = qacomp.decode(tmp_path / "m.qac")
        assert torch.equal(back["transformer.wpe.weight"], state["transformer.wpe.weight"])
    result = qacomp.compress(state, output=tmp_path / "m.qac", k=4, include=("*wpe*",))
    assert [layer.name for layer in result.layers if layer.k] == ["transformer.wpe.weight"]


def test_rules_by_role_are_patterns(tmp_path: Path) -> None:
    state = {name: torch.randn(40, 40) for name in FAMILIES if name.endswith("proj.weight") and "layers" in name}
    result = qacomp.compress(
        state, output=tmp_path / "m.qac", k=4, k_layers={"*self_attn*": 16}, exclude=("*.mlp.gate_*",)
    )
    ks = {layer.name: layer.k for layer in result.layers}
    assert ks["model.layers.0.self_attn.q_proj.weight"] == 16 and ks["model.layers.0.mlp.gate_proj.weight"] is None
    assert ks["model.layers.3.mlp.experts.15.down_proj.weight"] == 4


def test_tables_show_roles(run_printed: Callable[..., str], tmp_path: Path) -> None:
    state = {"model.layers.0.self_attn.q_proj.weight": torch.randn(40, 40), "model.norm.weight": torch.ones(40)}
    write_folder(tmp_path / "m", {"model.safetensors": state}, {})
    write_folder(tmp_path / "n", {"model.safetensors": {"w": torch.randn(40, 40)}}, {})
    out = run_printed([("console", "qacomp compress m --k 4\nqacomp inspect m.qac")])
    assert out.count("attention") == 2 and out.count("  role ") == 2 and "norm  " in out
    assert "  role " not in run_printed([("console", "qacomp compress n --k 4\nqacomp inspect n.qac")])
