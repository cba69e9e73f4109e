"""Conformance of a kind of data: dtypes, labels, disjoint parts, and the same result at each load."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from qacomp.datasets import DATASETS, Dataset, load_dataset
from qacomp.testing.suite import Suite, expect


class DatasetSuite(Suite):
    """The contract of `register_dataset`. A kind that reads files overrides `spec`, which writes small ones."""

    def spec(self, folder: Path) -> str:
        """Return a data spec that can be loaded, after writing the files that it needs into the empty `folder`."""
        return self.name

    @contextmanager
    def loaded(self) -> Iterator[Dataset]:
        """Yield the dataset, while its files exist."""
        with tempfile.TemporaryDirectory() as folder:
            yield load_dataset(self.spec(Path(folder)))

    def test_it_describes_itself(self) -> None:
        """Check that the kind has a description, and that its usage begins with its name."""
        kind = DATASETS.find(self.name)
        expect(kind.description and kind.usage.startswith(self.name), "the loader's docstring must describe the kind")

    def test_types_and_shapes(self) -> None:
        """Check that images are uint8, or float32 in [0, 1]; labels are int64 below the number of classes."""
        with self.loaded() as dataset:
            for part in (dataset.train, dataset.val, dataset.test):
                expect(len(part) == len(part.x) == len(part.y) > 0, "every part has images and as many labels")
                floats = part.x.dtype == np.float32 and 0 <= part.x.min() <= part.x.max() <= 1
                expect(part.x.dtype == np.uint8 or floats, "images are uint8, or float32 in [0, 1]")
                expect(part.x.ndim in (3, 4) and part.x.shape[1:] == dataset.train.x.shape[1:], "images of one shape")
                expect(part.y.dtype == np.int64 and part.y.ndim == 1, "labels are int64")
                expect(0 <= part.y.min() <= part.y.max() < dataset.num_classes, "labels lie below num_classes")
                own = part.x.flags.writeable and part.y.flags.writeable and part.x.flags.c_contiguous
                expect(own, "arrays are writeable and contiguous")

    def test_parts_are_disjoint(self) -> None:
        """Check that no image is in two parts."""
        with self.loaded() as dataset:
            parts = [{image.tobytes() for image in part.x} for part in (dataset.train, dataset.val, dataset.test)]
            expect(not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2]), "no image is in two parts")

    def test_loading_again_gives_the_same(self) -> None:
        """Check that images, labels and their order are the same at each load."""
        with self.loaded() as dataset:
            again = load_dataset(dataset.spec)
            for one, other in ((dataset.train, again.train), (dataset.val, again.val), (dataset.test, again.test)):
                expect(np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y), "each load gives the same")

    def test_another_fraction_leaves_test_alone(self) -> None:
        """Check that another validation fraction doesn't change the test part."""
        with self.loaded() as dataset:
            other = load_dataset(dataset.spec, validation_fraction=0.3)
            expect(np.array_equal(other.test.x, dataset.test.x), "the test part must not change")
