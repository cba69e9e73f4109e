"""Vectors of texts of Sentence Transformers' folders: how they are told, and that they count most."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qacomp.calibration.gradient_moments import sent_back, spreads_of
from qacomp.calibration.text_vectors import HIDDEN, VECTORS, pooled, pooling_of, share_of, with_vectors

LISTED = [{"idx": 0, "path": "", "type": "Transformer"}, {"idx": 1, "path": "1_Pooling", "type": "Pooling"}]


def _folder(path: Path, modules: Any, config: Any) -> Path:
    (path / "1_Pooling").mkdir()
    (path / "modules.json").write_text(modules if isinstance(modules, str) else json.dumps(modules))
    (path / "1_Pooling" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("modules", "config", "wanted"),
    [
        (LISTED, {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        (LISTED, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        (LISTED, {"pooling_mode_max_tokens": True}, "largest"),
        (LISTED, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, None),  # both, one after the other
        (LISTED, {"pooling_mode_lasttoken": True}, None),
        (LISTED, {"pooling_mode_mean_tokens": "yes"}, None),
        (LISTED, [1], None),
        (LISTED, "[" * 60_000, None),
        (LISTED, " " * (1 << 17) + "{}", None),
        ([{"path": "../1_Pooling"}, 7], {"pooling_mode_mean_tokens": True}, None),
        ("{", {"pooling_mode_mean_tokens": True}, None),
    ],
)
def test_a_folder_tells_how_vectors_are_made(tmp_path: Path, modules: Any, config: Any, wanted: str | None) -> None:
    assert pooling_of(_folder(tmp_path, modules, config)) == wanted


def test_a_folder_without_these_files_tells_nothing(tmp_path: Path) -> None:
    assert pooling_of(tmp_path) is None


@pytest.mark.parametrize(("way", "one"), [("mean", 2.0), ("first", 0.0), ("largest", 4.0)])
def test_vectors_are_one_value_of_the_tokens(way: str, one: float) -> None:
    states = torch.tensor([[0.0, 1.0], [4.0, 1.0], [2.0, 1.0]])[None]
    assert pooled(states, way).tolist() == [[one, 1.0]]
    found = with_vectors({HIDDEN: states, "pooler_output": states[:, 0]}, way)
    assert np.allclose(found[VECTORS].numpy(), np.array([[one, 1.0]]) / np.hypot(one, 1))
    assert share_of(VECTORS, found) == 1 > share_of(HIDDEN, found) == share_of("pooler_output", found) > 0


def test_without_a_way_or_hidden_states_outputs_are_as_they_are() -> None:
    outputs = {HIDDEN: torch.ones(1, 2, 3)}
    assert with_vectors(outputs, None) is outputs and share_of(HIDDEN, outputs) == 1
    scores = {"logits": torch.ones(1, 2)}
    assert with_vectors(scores, "mean") is scores


def test_spreads_are_those_over_all_runs() -> None:
    runs = [{"y": torch.randn(n, 5, 3) + 10} for n in (1, 2, 4)]
    rows = torch.cat([run["y"].reshape(-1, 3) for run in runs]).double()
    wanted = float(((rows - rows.mean(0)) ** 2).sum(1).mean())
    assert spreads_of(runs)["y"] == pytest.approx(wanted, rel=1e-9)


def test_each_output_sends_back_by_its_share_and_each_text_alike() -> None:
    torch.manual_seed(0)
    states = torch.randn(4, 6, 3)
    way, generator = torch.randn(3, 3), torch.Generator().manual_seed(0)
    spreads = spreads_of([with_vectors({HIDDEN: states @ way}, "mean")])
    sums = {1: 0.0, 4: 0.0}
    for texts in sums:  # of one text alone the vector doesn't vary, but over all texts it does
        for _ in range(600):
            given = states[:texts].clone().requires_grad_()
            back = sent_back(with_vectors({HIDDEN: given @ way}, "mean"), spreads, generator)
            assert back is not None
            back.backward()  # type: ignore[no-untyped-call]
            assert given.grad is not None
            sums[texts] += float((given.grad[:1] ** 2).sum()) / 600
    assert sums[1] == pytest.approx(sums[4], rel=0.15)
    plain = 6 * float((way**2).sum()) / (6 * spreads[HIDDEN])  # of one text's hidden states alone, with a share of 1
    mean = states[:1] @ way
    length = mean.mean(1).norm()
    unit = mean.mean(1) / length
    turned = way @ (torch.eye(3) - unit.T @ unit) / length
    vectors = 6 * float((turned**2).sum()) / 36 / spreads[VECTORS]
    assert sums[1] == pytest.approx(vectors + plain / 16, rel=0.15)
