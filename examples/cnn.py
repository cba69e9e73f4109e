"""A small CNN on scikit-learn's digits: train it, compress it, decode it to ONNX, write the report."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import qacomp


def main(folder: Path) -> None:
    """Write cnn.qac, cnn.onnx and report.html into `folder`."""
    torch.manual_seed(0)
    digits = qacomp.load_dataset("digits")
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    scale = 255.0 if digits.train.x.dtype == np.uint8 else 1.0
    x = torch.tensor(digits.train.x).float().unsqueeze(1) / scale  # (N, 1, 8, 8)
    y = torch.tensor(digits.train.y)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(6):
        for batch in torch.randperm(len(y), generator=torch.Generator().manual_seed(epoch)).split(64):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    result = qacomp.compress(
        model, digits, reg="exp", k=8, min_size=64, epochs=4, tune_epochs=2, output=folder / "cnn.qac"
    )
    result.to_onnx(folder / "cnn.onnx")
    result.report(folder / "report.html")
    print(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
