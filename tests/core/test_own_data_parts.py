"""Lightning's data modules, and what tells one user's data from another's."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from qacomp.batches.form import BatchForm
from qacomp.batches.given import load_examples
from qacomp.errors import DataError


class MisconfigurationException(Exception):  # Lightning's name
    """What Lightning raises for a loader that isn't defined."""


def loader(seed: int) -> DataLoader[Any]:
    torch.manual_seed(seed)
    return DataLoader(TensorDataset(torch.rand(24, 4), torch.arange(24) % 2), batch_size=8)


class Module:
    """A data module with training data, and validation data that `val` gives or refuses."""

    def __init__(self, val: Any) -> None:
        self.val = val

    def setup(self, stage: str) -> None:
        pass

    def train_dataloader(self) -> DataLoader[Any]:
        return loader(0)

    def val_dataloader(self) -> Any:
        if isinstance(self.val, Exception):
            raise self.val
        return self.val


@pytest.mark.parametrize("error", [NotImplementedError("x"), MisconfigurationException("x")])
def test_a_part_that_a_module_does_not_define_is_split_off(error: Exception) -> None:
    found = load_examples(Module(error), nn.Linear(4, 2))
    assert any("a tenth" in note for note in found.notes)
    assert sum(len(batch.y) for batch in found.val.in_order(64)) > 0


def test_a_module_that_fails_is_a_line() -> None:
    with pytest.raises(DataError, match=r"Module\.val_dataloader failed: RuntimeError: no such disk"):
        load_examples(Module(RuntimeError("no such disk")), nn.Linear(4, 2))


def test_a_digest_differs_where_the_training_data_does() -> None:
    digests = [
        load_examples({"train": loader(train), "val": loader(8), "test": loader(9)}, nn.Linear(4, 2)).digest()
        for train in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


class Stream:
    """Batches without a length, in an order that a pass draws anew."""

    def __init__(self, *, shuffled: bool) -> None:
        self.shuffled = shuffled

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(120) if self.shuffled else torch.arange(120)
        for numbers in order.reshape(-1, 4):
            yield torch.rand(4, 4), numbers % 7


def test_a_stream_in_another_order_at_each_pass_is_not_split() -> None:
    with pytest.raises(DataError, match="other targets at each pass"):
        load_examples(Stream(shuffled=True), nn.Linear(4, 7))
    parts = load_examples(Stream(shuffled=False), nn.Linear(4, 7))  # inputs at random
    assert [len(list(part.in_order(4))) for part in (parts.train, parts.val, parts.test)] == [24, 3, 3]
    given = {"train": Stream(shuffled=True), "val": Stream(shuffled=False)}
    assert len(load_examples(given, nn.Linear(4, 7)).notes) == 1


class Items(IterableDataset[Any]):
    """Give what an IterableDataset has: examples, or batches."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


LABELS = torch.arange(1280) % 2
IMAGES, WORDS = torch.rand(1280, 3, 4, 4), torch.ones(1280, 6).long()


@pytest.mark.parametrize(
    "items",
    [
        [(x, y) for x, y in zip(IMAGES, LABELS, strict=True)],
        [(x, int(y)) for x, y in zip(IMAGES, LABELS, strict=True)],
        [(x, x[:1]) for x in IMAGES],
        [{"input_ids": words, "labels": y, "text": "a"} for words, y in zip(WORDS, LABELS, strict=True)],
        [{"input_ids": words, "labels": words} for words in WORDS],
        list(zip(torch.split(IMAGES, 64), torch.split(LABELS, 64), strict=True)),
    ],
)
def test_an_iterable_dataset_gives_examples_or_batches(items: list[Any]) -> None:
    found = load_examples(Items(items), BatchForm("data", ("input_ids",)))
    batches = list(found.train.in_order(8))
    assert [len(batch.y) for batch in batches] == [64] * 16
