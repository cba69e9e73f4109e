"""Inputs like those that the networks of the ONNX suite were made for: a synthetic voice in frames, real images."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets import load_dataset
from qacomp.runtime.agreement import Feed
from qacomp.runtime.session import open_session

RATE, FRAMES, IMAGES = 16_000, 64, 256
HOP, CONTEXT, _WINDOW, _SHIFT = 512, 64, 512, 128  # silero's frames; DTLN's


def voice(seconds: float) -> NDArray[np.float32]:
    """Harmonics of a wavering 120 Hz under a formant, in syllables, over quiet noise: (samples,) at 16 kHz."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 * (1 + 0.05 * np.sin(2 * np.pi * 3 * t))) / RATE
    partials = [
        np.exp(-(((120 * h - 600) / 500) ** 2)) * np.sin(h * phase) + np.sin(h * phase) / h**2 for h in range(1, 30)
    ]
    syllables = np.clip(1.5 * np.sin(2 * np.pi * 4 * t) * (np.sin(2 * np.pi * 0.5 * t) > -0.3), 0, 1)
    noise = np.random.default_rng(0).standard_normal(t.size)
    return (0.05 * sum(partials) * syllables + 0.003 * noise).astype(np.float32)


def speech_outputs(model: Path) -> list[Feed]:
    """What silero or DTLN's first network says of the voice; each frame goes on from the model's own last state."""
    session = open_session(model, threads=1)
    inputs = [i.name for i in session.get_inputs()]
    silero = "state" in inputs
    audio = voice(3.0)
    state = np.zeros((2, 1, 128) if silero else (1, 2, 128, 2), np.float32)
    names = [o.name for o in session.get_outputs()]
    outputs = []
    for frame in range(FRAMES):
        if silero:
            start = frame * HOP
            chunk = audio[start : start + CONTEXT + HOP]
            whole = {inputs[0]: chunk[None], "state": state, "sr": np.array(RATE, np.int64)}
            feed: dict[str, Any] = {name: whole[name] for name in inputs}  # an exported archive takes no rate
        else:
            window = audio[frame * _SHIFT * 4 :][:_WINDOW]
            feed = {"input_2": np.abs(np.fft.rfft(window))[None, None].astype(np.float32), "input_3": state}
        found = session.run(names, feed)
        state = found[1]
        outputs.append(dict(zip(names, found, strict=True)))
    return outputs


def test_images(shared: Path) -> NDArray[Any]:
    """The first test images of CIFAR-10J, before preprocessing."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "c10j.npz"
        subprocess.run([sys.executable, str(shared / "data" / "unpack_cifar10.py"), str(data)], check=True)
        return np.array(load_dataset(f"npz:{data}").test.x[:IMAGES])
