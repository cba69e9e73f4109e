"""Keep the images that a network makes for itself in the file for resuming, so that Ctrl-C loses one batch at most."""

from dataclasses import asdict, dataclass

from qacomp.calibration.synthetic import Synthetic
from qacomp.training.resume import ResumeStore

_STAGE = "images of its own"


@dataclass(frozen=True)
class MadeImages:
    """The batches of images in a file for resuming."""

    store: ResumeStore

    def load(self) -> list[Synthetic]:
        """Return the batches of an earlier run."""
        saved = self.store.load(_STAGE)
        return [] if saved is None else [Synthetic(**made) for made in saved["made"]]

    def save(self, made: list[Synthetic]) -> None:
        """Write all batches."""
        self.store.save(_STAGE, {"made": [asdict(m) for m in made]}, last=True)
