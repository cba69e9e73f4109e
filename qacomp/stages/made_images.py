"""Keep the images that a network makes for itself in the journal, so that Ctrl-C loses one batch at most."""

from dataclasses import dataclass
from itertools import count

import torch

from qacomp.calibration.synthetic import Synthetic
from qacomp.stages.journal import Journal, real

_IMAGES = "images"


@dataclass(frozen=True)
class MadeImages:
    """The batches of images in a journal."""

    journal: Journal

    def load(self) -> list[Synthetic]:
        """Return the batches of an earlier run."""
        made: list[Synthetic] = []
        for number in count():
            found = self.journal.arrays(_key(number))
            if found is None or _IMAGES not in found[1]:
                break
            loss, arrays = found
            try:
                made.append(Synthetic(torch.from_numpy(arrays[_IMAGES]), real(loss)))
            except ValueError:
                break
        return made

    def save(self, made: list[Synthetic]) -> None:
        """Write the last batch; those before it are written."""
        self.journal.add(_key(len(made) - 1), made[-1].loss, {_IMAGES: made[-1].images.cpu().numpy()})


def _key(number: int) -> str:
    return f"images of its own, batch {number}"
