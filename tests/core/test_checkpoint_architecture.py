from pathlib import Path

import pytest
import torch
from torch import Tensor

from qacomp.checkpoints import Checkpoint, fitting_architectures, infer_num_classes, load_into
from qacomp.errors import ArchitectureMismatchError, UnknownArchitectureError
from qacomp.models import create_model, list_models
from qacomp.models.unfilled import Unfilled


def checkpoint_of(state: "dict[str, Tensor]") -> Checkpoint:
    return Checkpoint(Path("some.pt"), "state_dict", state, None, None, None, None, "", 0, ())


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("num_classes", [2, 10, 37])
def test_classes_and_architecture_are_inferred(name: str, num_classes: int) -> None:
    with torch.device("meta"):  # shapes alone
        state = create_model(name, num_classes).state_dict()
    assert infer_num_classes(state, name) == num_classes
    assert fitting_architectures(state) == [name]


def test_loading_copies_every_tensor() -> None:
    source, model = create_model("resnet20"), create_model("resnet20")
    for buffer in source.buffers():
        buffer.fill_(3)
    load_into(model, checkpoint_of(source.state_dict()))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])
        assert tensor.data_ptr() != source.state_dict()[name].data_ptr()


def test_files_without_batch_counters_load() -> None:
    state = {
        name: tensor for name, tensor in create_model("resnet20").state_dict().items() if "num_batches" not in name
    }
    load_into(create_model("resnet20"), checkpoint_of(state))


def test_a_wrong_architecture_says_what_differs_and_what_fits() -> None:
    state = create_model("resnet20").state_dict()
    with pytest.raises(ArchitectureMismatchError) as raised:
        load_into(create_model("resnet32"), checkpoint_of(state))
    message = str(raised.value)
    assert "some.pt" in message and "60 missing (layer1.3.conv1.weight, " in message
    assert "It fits resnet20 with 10 classes" in message and "\n" not in message


def test_a_wrong_class_count_names_the_layer() -> None:
    state = create_model("lenet5", 37).state_dict()
    with pytest.raises(ArchitectureMismatchError, match=r"fc2\.weight is \[37, 500\] instead of \[10, 500\]"):
        load_into(create_model("lenet5"), checkpoint_of(state))


def test_foreign_weights_fit_nothing_and_change_nothing() -> None:
    model = create_model("lenet300")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {**model.state_dict(), "extra.weight": torch.ones(2), "fc1.weight": torch.ones(3, 3)}
    with pytest.raises(ArchitectureMismatchError, match=r"1 unexpected \(extra\.weight\).*No registered architecture"):
        load_into(model, checkpoint_of(state))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_inference_refuses_what_it_cannot_tell() -> None:
    with pytest.raises(ArchitectureMismatchError, match="no classifier layer like resnet20's"):
        infer_num_classes({"w": torch.ones(3)}, "resnet20")
    with pytest.raises(UnknownArchitectureError):
        infer_num_classes({}, "resnet21")


def test_networks_for_their_shapes_alone_are_not_filled() -> None:
    with Unfilled():
        kept = torch.full((3, 4), 7.0)
        for fill in (torch.nn.init.normal_, torch.nn.init.kaiming_uniform_, torch.nn.init.zeros_):
            assert fill(kept) is kept
        assert kept.uniform_(0, 1) is kept and torch.equal(kept, torch.full((3, 4), 7.0))
        assert torch.ones(2).add_(1).tolist() == [2, 2]
    assert not torch.equal(torch.nn.init.normal_(kept), torch.full((3, 4), 7.0))
