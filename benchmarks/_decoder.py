"""A small decoder of bytes, trained here on Python's own language reference, as a folder that transformers loads."""

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WINDOW = 128  # bytes of a text
_STEPS, _BATCH, _RATE = 1500, 16, 3e-3
_HELD = 10  # one of so many windows is held back


def texts() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows to train on, and others to measure on: (windows, 128) bytes."""
    data = "\n".join(topics[name] for name in sorted(topics)).encode()
    windows = np.frombuffer(data[: len(data) // WINDOW * WINDOW], np.uint8).astype(np.int64).reshape(-1, WINDOW)
    held = np.arange(len(windows)) % _HELD == 0
    return windows[~held], windows[held]


def train(folder: Path, seed: int) -> dict[str, Any]:
    """Train the decoder and write its folder; returns its weights' number and the last losses' mean."""
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=WINDOW, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    windows = torch.from_numpy(texts()[0])
    optimizer = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS, pct_start=0.1)
    losses = []
    for _ in range(_STEPS):
        batch = windows[torch.randint(len(windows), (_BATCH,))]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.save_pretrained(folder)
    return {"weights": sum(p.numel() for p in model.parameters()), "loss": float(np.mean(losses[-20:]))}
