"""A transformer in safetensors, here with random weights: share its matrices, keep its norms, read a few rows back."""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import qacomp


def write_weights(path: Path, layers: int = 2, width: int = 128, vocabulary: int = 500) -> Path:
    """Write the tensors of a small decoder, with the names of real checkpoints, to `path`; return the path."""
    rng = np.random.default_rng(0)
    state = {"model.embed_tokens.weight": rng.normal(0, 0.02, (vocabulary, width)).astype(np.float32)}
    for i in range(layers):
        for part, shape in {
            "self_attn.q_proj": (width, width), "self_attn.k_proj": (width, width), "self_attn.v_proj": (width, width),
            "self_attn.o_proj": (width, width), "mlp.up_proj": (4 * width, width), "mlp.down_proj": (width, 4 * width),
        }.items():  # fmt: skip
            state[f"model.layers.{i}.{part}.weight"] = rng.normal(0, 0.05, shape).astype(np.float32)
        state[f"model.layers.{i}.input_layernorm.weight"] = np.ones(width, np.float32)
    save_file(state, path)
    return path


def main(folder: Path) -> None:
    """Write transformer.qac and report.html into `folder`."""
    source = write_weights(folder / "model.safetensors")
    result = qacomp.compress(
        source, k=16, k_layers={"model.embed_tokens": 64}, stored_precision="exact", output=folder / "transformer.qac"
    )
    result.report(folder / "report.html")
    print(result)
    with qacomp.open_file(result.output) as container:
        rows = container.rows("model.embed_tokens.weight", 10, 12)  # two tokens, without the others
        print(rows.shape, "of", container.info("model.embed_tokens.weight").shape)
    worst = max(result.relative_errors.items(), key=lambda pair: pair[1] or 0)
    print(f"largest relative error: {worst[0]}, {worst[1]:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
