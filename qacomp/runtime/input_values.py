"""Draw values of generated inputs: pictures with the edges and spectrum of photographs, lines of text, voices, ids."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.runtime.input_plan import PlannedInput, Sizes
from qacomp.tensors.vocabulary import drawn_words

_MEAN, _DEVIATION = 0.45, 0.225  # of the pixels of photographs in [0, 1]: about ImageNet's, over the colour channels
_LEAVES, _RATE = 60, 16000  # shapes in a picture; samples per second


def draw(planned: PlannedInput, sizes: Sizes, rng: np.random.Generator, loud: bool = True) -> NDArray[Any]:
    """Draw the values of one input, in its planned dtype and with these sizes of open axes.

    Loud values are standard normal, pictures are normalized, and signals are white noise. If not `loud`, normal values
    are a tenth as large, pictures stay in [0, 1], and signals are like a voice.
    """
    shape = planned.sized(sizes)
    kind, dtype = planned.kind, planned.dtype
    if kind == "image":
        values = _pictures(shape, planned, rng, loud)
    elif kind == "signal":
        values = (rng.standard_normal(shape) if loud else _waves(shape, rng)) * (3000 if dtype.kind in "iu" else 1)
    elif kind == "values":
        values = rng.standard_normal(shape) * (1.0 if loud else 0.1)
    else:
        values = _integers(planned, shape, sizes, rng)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.round(values), limits.min, limits.max)
    return np.asarray(values).astype(dtype)


def _integers(
    planned: PlannedInput, shape: tuple[int, ...], sizes: Sizes, rng: np.random.Generator
) -> NDArray[np.float64]:
    kind, use = planned.kind, planned.use
    if kind == "constant":
        return np.full(shape, use.compared[0])
    if kind in ("mask", "factor"):
        return np.ones(shape)
    if kind in ("flag",):
        return np.zeros(shape)
    if kind == "lengths":
        return np.full(shape, max(sizes.get("sequence", 0), sizes.get("samples", 0)) or 1, np.float64)
    if kind == "size":
        side = (sizes.get("image_height", 1), sizes.get("image_width", 1))
        return np.broadcast_to(np.resize(np.array(side, np.float64), shape[-1:] or (1,)), shape)
    rows = use.rows
    if kind == "positions" and shape:
        return np.broadcast_to(np.arange(shape[-1]) % max(1, rows or shape[-1]), shape).astype(np.float64)
    if kind == "segments" and shape:
        second = np.arange(shape[-1]) >= shape[-1] // 2
        return np.broadcast_to(second * ((rows or 2) > 1), shape).astype(np.float64)
    if kind == "ids" and rows:
        words = np.arange(rows) if use.words is None else use.words
        return drawn_words(words, shape, rng).astype(np.float64)
    return rng.integers(0, 10, shape).astype(np.float64) if shape else np.ones(shape)


def _pictures(
    shape: tuple[int, ...], planned: PlannedInput, rng: np.random.Generator, loud: bool
) -> NDArray[np.float64]:
    """Draw pictures in the input's layout and range."""
    size = dict(zip(planned.layout, shape, strict=True))
    height, width, colours = size["h"], size["w"], size["c"]
    kind = _line if width >= 2 * height else _picture
    made = [kind(height, width, colours, rng) for _ in range(size.get("n", 1))]  # each (H, W, C) in [0, 1]
    axes = ["hwc".index(a) for a in planned.layout if a != "n"]
    values = np.stack([picture.transpose(axes) for picture in made])
    values = values if "n" in planned.layout else values[0]
    if planned.dtype.kind in "iu" or planned.use.pixels:
        return values * 255 - (128 if planned.dtype.kind == "i" else 0)
    return (values - _MEAN) / _DEVIATION if loud else values


def _picture(height: int, width: int, colours: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw overlapping shapes (the dead leaves model) under a 1/f texture; (H, W, C) in [0, 1].

    Such pictures have the edges and the spectrum of photographs (Lee, Mumford & Huang, 2001).
    """
    y, x = np.mgrid[0:height, 0:width]
    picture = np.empty((height, width, colours))
    picture[:] = rng.random(colours)
    largest = max(height, width) / 2
    for _ in range(_LEAVES):
        radius = min(largest, 2.0 / np.sqrt(rng.random() + (2 / max(largest, 2.1)) ** 2))  # many small, few large
        cy, cx, stretch = rng.random() * height, rng.random() * width, np.exp(0.5 * rng.standard_normal())
        dy, dx = np.abs(y - cy) / radius, np.abs(x - cx) / (radius * stretch)
        inside = np.maximum(dy, dx) < 1 if rng.random() < 0.5 else dy**2 + dx**2 < 1
        picture[inside] = rng.random(colours)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    noise = np.fft.rfft2(rng.standard_normal((height, width))) / frequency
    noise[0, 0] = 0
    texture = np.fft.irfft2(noise, s=(height, width))
    texture *= 0.1 / (float(texture.std()) or 1.0)
    return np.clip(picture + texture[..., None], 0, 1)


def _line(height: int, width: int, colours: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a line of random letters, dark on light or light on dark, with a little noise; (H, W, C) in [0, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    letters = rng.choice(list(string.ascii_letters + string.digits), size=max(1, 2 * width // height))
    words = "".join(" " if rng.random() < 0.15 else letter for letter in letters)
    page = Image.new("L", (width, height), 0)
    font = ImageFont.load_default(max(6, int(0.7 * height)))
    ImageDraw.Draw(page).text((height // 8, height // 10), words, fill=255, font=font)
    ink = np.asarray(page, np.float64)[..., None] / 255  # (H, W, 1)
    ground, letter = sorted(rng.random(2) * [0.3, 0.3] + [0.0, 0.7], reverse=bool(rng.random() < 0.8))
    picture: NDArray[np.float64] = ground + (letter - ground) * ink
    return np.clip(picture + 0.02 * rng.standard_normal((height, width, colours)), 0, 1)


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw voices along the last axis, each with its own pitch and formants, in noise; RMS about 0.3, at 16 kHz."""
    samples, rows = shape[-1], int(np.prod(shape[:-1], dtype=np.int64))
    time = np.arange(samples) / _RATE
    made = np.empty((rows, samples))
    for row in made:
        pitch, formants = 80 + 170 * rng.random(), np.sort(300 + 3000 * rng.random(3))
        harmonics = np.arange(1, int(4000 / pitch) + 1) * pitch
        strength = sum(np.exp(-(((harmonics - f) / 200) ** 2)) for f in formants) + 0.02
        voice = np.zeros(samples)
        for harmonic, loudness in zip(harmonics, strength, strict=True):
            voice += loudness * np.sin(2 * np.pi * (harmonic * time + rng.random()))
        row[:] = 0.3 * voice / (float(voice.std()) or 1.0) + 0.1 * rng.standard_normal(samples)
    return made.reshape(shape)
