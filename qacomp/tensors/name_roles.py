"""Tell the role of a tensor of a transformer by its name, where no graph tells it.

The names are those of BERT, GPT-2, GPT-NeoX, Llama, Qwen, Mixtral, T5, CLIP and ViT in transformers and timm.
A role is only shown, except that tables of positions stay exact. Doesn't need torch.
"""

import re
from functools import lru_cache

POSITIONS = "position table"
_WORDS = re.compile(r"[.\s/]+")
_BLOCK = re.compile(r"(^|\.)(layers?|h|blocks?|block|encoders?|decoders?|transformer)\.\d+\.", re.IGNORECASE)
"""Inside a numbered block the words for attention and MLP count; outside of one they mean too many other things."""

_NORM = re.compile(r"(\w*(layer_?norm|rms_?norm|_norm)|norm\d*|ln(_\w+|\d+)?)", re.IGNORECASE)
_POSITIONS = {
    *("position_embeddings", "position_embedding", "positional_embedding", "pos_embed", "pos_embedding", "pos_emb"),
    *("wpe", "embed_positions", "relative_attention_bias", "relative_position_bias_table", "pos_embeddings"),
}
_EMBEDDINGS = {
    *("word_embeddings", "token_type_embeddings", "token_embedding", "tok_embeddings", "embed_tokens", "embed_in"),
    *("wte", "shared", "embedding", "embeddings", "patch_embed", "patch_embeddings", "class_embedding", "cls_token"),
}
_HEADS = {"lm_head", "embed_out", "classifier", "score", "qa_outputs", "pooler", "cls", "head", "output_projection"}
_ROUTERS = {"gate", "router", "shared_expert_gate"}
_ATTENTION = re.compile(
    r"(self_?)?(attn|attention)\d*|\w*(self|cross|encdec)_?attention|[qkvo]_proj|qkv(_proj)?|c_attn|wqkv|query_key_value",
    re.IGNORECASE,
)
_MLP = {
    *("mlp", "ffn", "feed_forward", "intermediate", "output", "c_fc", "experts", "block_sparse_moe", "w1", "w2", "w3"),
    *("gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2", "densereludense", "dense_h_to_4h"),
    *("dense_4h_to_h", "shared_expert", "fc_in", "fc_out", "linear1", "linear2"),
}


@lru_cache(maxsize=1 << 14)
def role_of(name: str) -> str | None:
    """Return embedding, position table, attention, MLP, router, norm or head; None if no word of the name tells it."""
    words = [word for word in _WORDS.split(name) if word not in ("weight", "bias", "kernel")]
    small = [word.lower() for word in words]
    if not words or len(name) > 1000:
        return None
    if _NORM.fullmatch(words[-1]):
        return "norm"
    if small[-1] in _POSITIONS:
        return POSITIONS
    if _BLOCK.search(name):
        if small[-1] in _ROUTERS:
            return "router"
        if any(_ATTENTION.fullmatch(word) for word in words):
            return "attention"
        if _MLP & set(small):
            return "MLP"
        return None
    if small[-1] in _EMBEDDINGS or (len(small) > 1 and small[-2] in ("patch_embed", "patch_embeddings")):
        return "embedding"
    return "head" if _HEADS & set(small) else None
