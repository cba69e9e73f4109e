"""Train the small parameters of a shared network on calibration inputs, towards the original's outputs.

No labels are needed. Norms, biases and shared values (the parameters with one axis) are trained; weights keep their
indices.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qacomp.batches.feed import Feed, count_of, rows_of
from qacomp.batches.outputs import main_output
from qacomp.evaluation.on_batches import Forward

STEPS = 120
"""Steps of Adam: with 200, outputs on real images were no nearer to the original's."""
_BATCH = 64
LEARNING_RATE = 1e-3
"""Sets how far Adam moves a value in the first step; it falls along a cosine."""
_SHIFT = 3  # most pixels by which images are shifted, as augmentation
_TEMPERATURE = 2.0


def tune_small(
    shared: nn.Module,
    original: nn.Module,
    inputs: Feed | list[Feed],
    seed: int,
    advance: Callable[[], None],
    keep_zero: Callable[[nn.Module, torch.optim.Optimizer], None],
) -> float:
    """Train the free parameters of `shared` with at most one axis, in place, for STEPS steps; return the last loss.

    Both networks must be in evaluation mode, so running statistics don't change. inputs: a feed, or several of
    different shapes; images are mirrored and shifted at random. The same seed gives the same result. advance: called
    after each step; keep_zero: called with the network and its optimizer before the first step, to hold pruned values
    at zero.
    """
    small = [p for p in shared.parameters() if p.dim() <= 1 and p.requires_grad]
    others = [(p, p.requires_grad) for p in shared.parameters() if p.dim() > 1]
    if not small:
        return 0.0
    for p, _ in others:
        p.requires_grad_(False)
    optimizer = torch.optim.Adam(small, lr=LEARNING_RATE)
    keep_zero(shared, optimizer)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    student, teacher = Forward(shared), Forward(original)
    loss, feeds = torch.zeros(()), inputs if isinstance(inputs, list) else [inputs]
    for _ in range(STEPS):
        feed = feeds[int(torch.randint(0, len(feeds), (), generator=generator))] if len(feeds) > 1 else feeds[0]
        picked = rows_of(feed, torch.randint(0, count_of(feed), (_BATCH,), generator=generator))
        batch = varied(picked, generator) if isinstance(picked, Tensor) else picked
        with torch.no_grad():
            wanted = teacher(batch)
        loss = output_loss(student(batch), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        advance()
    for p, wanted_gradient in others:
        p.requires_grad_(wanted_gradient)
    return float(loss.detach())


def varied(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Return images mirrored (with probability ½) and shifted by up to three pixels; other inputs unchanged."""
    if batch.dim() != 4 or not batch.is_floating_point() or min(batch.shape[2:]) <= 2 * _SHIFT:
        return batch
    if torch.rand(1, generator=generator) < 0.5:
        batch = batch.flip(3)
    down, right = (int(n) for n in torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=generator))
    return torch.roll(batch, (down, right), (2, 3))


def output_loss(outputs: Any, originals: Any) -> Tensor:
    """Return the divergence of class scores (N, classes), or the relative squared error of other main outputs."""
    found, wanted = main_output(outputs), main_output(originals)
    if wanted.dim() == 2 and wanted.shape[1] > 1:
        teacher, student = (logits / _TEMPERATURE for logits in (wanted, found))
        return F.kl_div(student.log_softmax(1), teacher.log_softmax(1), log_target=True, reduction="batchmean")
    return ((found - wanted) ** 2).sum() / ((wanted - wanted.mean(0)) ** 2).sum().clamp_min(1e-12)
