"""Train a network whose weights are rounded to grids towards the original's outputs, on inputs without labels.

Training starts from compensated integers. The loss is the distance of the outputs, and of what batch norms put out, so
that a few inputs say much about each weight; the running statistics of norms are held. Weights take the bytes that they
may, by dead zones and a price on bits (see `rate_objective`).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.batches.examples import epoch_seed
from qacomp.calibration.tuning import varied
from qacomp.options.config import CompressConfig
from qacomp.progress import Progress, Task
from qacomp.training.dead_zones import Coder
from qacomp.training.descent import Rates
from qacomp.training.fine_tune_rate import OnGrid
from qacomp.training.history import EpochRecord
from qacomp.training.imitation import Imitation
from qacomp.training.loop import DivergedError
from qacomp.training.objective import Objective
from qacomp.training.parametrizations.rounding import round_weight, rounding_of, shadow_weight, take_multiples
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros
from qacomp.training.rate_objective import RateObjective
from qacomp.training.rate_state import TensorRate
from qacomp.training.resume import ResumeStore

_STAGE = "train towards the original"
_NEAR = 0.4  # steps that a weight starts at most from its integer: near enough to its original value, and to others
_RATE = 0.01  # learning rate of Adam in steps: a weight can cross a step in some 100 updates
_SMALL_RATE = 1e-3  # learning rate of norms and biases, as in tuning
_WORTH = 2 * math.log(2)  # of a bit for each weight, relative to the loss: on fine grids it divides the loss by 4


@dataclass(frozen=True)
class GridStart:
    """Where the training of a weight starts. step: of its grid; integers: multiples of it, in the weight's shape."""

    step: float
    integers: NDArray[np.int64]


@dataclass(frozen=True)
class UnlabelledSetup:
    """What training without labels needs beside the network.

    original: the network as it came, in evaluation mode; inputs: (N, ...), on its device; config: settings without
    None; store: where the state is saved for resuming; zeros: the weights that stay zero.
    """

    original: nn.Module
    inputs: Tensor
    config: CompressConfig
    progress: Progress
    store: ResumeStore | None = None
    zeros: Zeros = NO_ZEROS


def train_unlabelled(
    model: nn.Module, starts: Mapping[str, GridStart], goal: float, coder: Coder, setup: UnlabelledSetup
) -> tuple[dict[str, OnGrid], list[EpochRecord]]:
    """Train the weights that `starts` names, rounded to multiples of their steps, and all vectors, in place.

    goal: the bytes that the rounded weights should take in the end, as `coder` counts them. Returns the shadow weights
    by name, and a record for each epoch; the network keeps the rounded weights. The same seed gives the same result.
    Raises DivergedError.
    """
    return _Training(model, starts, goal, coder, setup).run()


class _Training:
    """The network, its optimizer and the rate, and the records of the epochs that are done."""

    def __init__(
        self, model: nn.Module, starts: Mapping[str, GridStart], goal: float, coder: Coder, setup: UnlabelledSetup
    ) -> None:
        self.model, self.names, self.setup = model.eval(), list(starts), setup
        for name, start in starts.items():
            _place(model, name, start)
        device = setup.inputs.device
        tensors = {name: TensorRate(rounding_of(model, name).dead).to(device) for name in starts}
        self.imitation = Imitation(setup.original, model)
        self.batch = min(setup.config.batch_size, len(setup.inputs))
        self.objective = replace(RateObjective.of(Objective(), tensors, goal, coder), price=self._price(goal))
        self.optimizer = torch.optim.Adam(_groups(model, starts))
        setup.zeros.keep_zero(model, self.optimizer)
        epochs = setup.config.epochs or 0
        self.steps = len(setup.inputs) // self.batch  # in one epoch
        self.total = self.steps * epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, Rates(self.total))
        self.parts: dict[str, Any] = {
            "model": model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "rate": self.objective.modules(),
        }
        self.records: list[EpochRecord] = []
        self.digest = hashlib.sha256(setup.inputs.cpu().numpy().tobytes()).hexdigest()

    def run(self) -> tuple[dict[str, OnGrid], list[EpochRecord]]:
        """Train the epochs that aren't done yet; return the shadow weights and the records of all epochs."""
        store, epochs = self.setup.store, self.setup.config.epochs or 0
        saved = store.load(_STAGE) if store else None
        if saved is not None and saved["inputs"] == self.digest:
            self._restore(saved)
        with self.setup.progress.task(_STAGE, self.total) as task:
            task.advance(self.steps * len(self.records))
            for epoch in range(len(self.records), epochs):
                self.records.append(self._epoch(epoch, task))
                task.describe(f"epoch {epoch + 1}/{epochs}, loss {self.records[-1].loss:.4f}")
                if store:
                    store.save(_STAGE, self._state(), last=epoch + 1 == epochs)
        self.imitation.end()
        return {name: OnGrid(*take_multiples(self.model, name)) for name in self.names}, self.records

    def _price(self, goal: float) -> float:
        """Return the price of all bits together, in units of the loss: what they are worth at the start."""
        with torch.no_grad():
            loss = float(self.imitation.loss(self.setup.inputs[: self.batch]))
        weights = sum(shadow_weight(self.model, name).numel() for name in self.names)
        return _WORTH * loss * 8 * goal / weights

    def _epoch(self, epoch: int, task: Task) -> EpochRecord:
        setup, sums = self.setup, np.zeros(2)
        rng = np.random.default_rng(epoch_seed(setup.config.seed, _STAGE, epoch))
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
        order = torch.from_numpy(rng.permutation(len(setup.inputs))).to(setup.inputs.device)
        for step in range(self.steps):
            chosen = setup.inputs[order[step * self.batch : (step + 1) * self.batch]]
            found = self._step(varied(chosen, generator), (epoch * self.steps + step) / self.total)
            if not math.isfinite(found[0]):
                raise DivergedError(f"{_STAGE}: the loss became {found[0]} in epoch {epoch + 1}")
            sums += found
            task.advance()
        loss, penalty = (sums / self.steps).tolist()
        return EpochRecord(_STAGE, epoch + 1, loss, penalty, None)

    def _step(self, x: Tensor, progress: float) -> tuple[float, float]:
        """Take one step; return the loss and the price of bits. progress: fraction of the steps done so far."""
        loss = self.imitation.loss(x)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        found = float(loss.detach())
        penalty = self.objective.add_penalty_gradients(self.model, progress)
        self.optimizer.step()
        self.schedule.step()
        return found, float(penalty)

    def _restore(self, saved: dict[str, Any]) -> None:
        for key, part in self.parts.items():
            part.load_state_dict(saved[key])
        self.records = [EpochRecord(**r) for r in saved["records"]]

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {key: part.state_dict() for key, part in self.parts.items()}
        return state | {"inputs": self.digest, "records": [asdict(r) for r in self.records]}


def _place(model: nn.Module, name: str, start: GridStart) -> None:
    """Round a weight to its grid, with a shadow weight that is its own value as far as that lies near the integer."""
    round_weight(model, name, start.step)
    shadow = shadow_weight(model, name)
    integers = torch.from_numpy(start.integers).to(shadow)
    with torch.no_grad():
        low, high = (integers - _NEAR) * start.step, (integers + _NEAR) * start.step
        shadow.copy_(torch.minimum(torch.maximum(shadow, low), high))


def _groups(model: nn.Module, starts: Mapping[str, GridStart]) -> list[dict[str, object]]:
    """Return an optimizer group for each weight, whose learning rate is in units of its step, and one for vectors."""
    shadows = {name: shadow_weight(model, name) for name in starts}
    known = {id(p) for p in shadows.values()}
    rest = [p for p in model.parameters() if p.dim() <= 1 and p.requires_grad and id(p) not in known]
    groups = [{"params": [p], "lr": _RATE * starts[name].step} for name, p in shadows.items()]
    return [*groups, {"params": rest, "lr": _SMALL_RATE}] if rest else groups
