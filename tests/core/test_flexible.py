"""MSDNet's exits and slimmable MobileNet's widths: published sizes, and sub-models that equal the whole."""

import pytest
import torch
from torch import Tensor, nn

from qacomp.errors import ConfigError
from qacomp.evaluation.macs import count_macs, count_parameters
from qacomp.evaluation.parity import max_abs_error
from qacomp.graphs.network import export_dense
from qacomp.models import create_model
from qacomp.models.flexible import FlexibleModel

SHAPE = (3, 32, 32)
EXIT_MACS = {
    "exit1": 14_955_776,
    "exit2": 21_695_744,
    "exit3": 28_780_800,
    "exit4": 34_789_632,
    "exit5": 41_683_200,
    "exit6": 46_326_016,
    "exit7": 51_880_192,
}
WIDTHS = {  # parameters, multiply-accumulates
    "width0.25": (215_642, 3_331_072),
    "width0.5": (823_722, 12_167_168),
    "width0.75": (1_824_250, 26_508_288),
    "width1.0": (3_217_226, 46_354_432),
}


def trained_like(name: str) -> nn.Module:
    """A flexible model whose batch norms, each of them, have statistics of their own."""
    torch.manual_seed(0)
    model = create_model(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


@pytest.fixture(scope="module", params=["msdnet", "slimmable_mobilenet"])
def whole(request: pytest.FixtureRequest) -> nn.Module:
    return trained_like(request.param)


@pytest.fixture(scope="module")
def msdnet() -> nn.Module:
    return trained_like("msdnet")


@pytest.fixture(scope="module")
def slimmable() -> nn.Module:
    return trained_like("slimmable_mobilenet")


def flexible(model: nn.Module) -> FlexibleModel:
    assert isinstance(model, FlexibleModel)
    return model


def images(count: int = 2) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_submodels_give_what_the_whole_gives(whole: nn.Module) -> None:
    x = images()
    with torch.no_grad():
        every = flexible(whole).forward_all(x)
        assert len(every) == len(flexible(whole).submodel_names)
        assert torch.equal(whole(x), every[-1])
        for name, logits in zip(flexible(whole).submodel_names, every, strict=True):
            assert torch.equal(flexible(whole).submodel(name)(x), logits)
    assert not any(torch.equal(logits, every[-1]) for logits in every[:-1])


def test_a_submodel_holds_copies_and_draws_nothing_at_random(whole: nn.Module) -> None:
    state = torch.get_rng_state()
    submodel = flexible(whole).submodel(flexible(whole).submodel_names[0])
    assert torch.equal(torch.get_rng_state(), state)
    mine = {tensor.untyped_storage().data_ptr() for tensor in whole.state_dict().values()}
    assert not any(tensor.untyped_storage().data_ptr() in mine for tensor in submodel.state_dict().values())
    assert not submodel.training and all(parameter.requires_grad for parameter in submodel.parameters())


def test_an_unknown_submodel_is_named(whole: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"'level4'; give one of (exit1|width0\.25), "):
        flexible(whole).submodel("level4")


def test_plain_networks_are_not_flexible() -> None:
    assert not isinstance(create_model("lenet5"), FlexibleModel)


@pytest.mark.parametrize(("model", "name"), [("msdnet", "exit1"), ("slimmable_mobilenet", "width0.5")])
def test_an_exported_submodel_equals_itself(model: str, name: str) -> None:
    submodel = flexible(trained_like(model)).submodel(name)
    assert max_abs_error(submodel, export_dense(submodel, SHAPE), images(4).numpy()) <= 1e-4


def test_msdnet_has_the_published_sizes(msdnet: nn.Module) -> None:
    assert flexible(msdnet).submodel_names == tuple(EXIT_MACS)
    assert count_parameters(msdnet) == 2_986_690
    inputs = [msdnet.get_submodule(f"heads.{i}.features.0.0").in_channels for i in range(7)]
    assert inputs == [160, 208, 140, 188, 236, 152, 200]
    for name, macs in EXIT_MACS.items():
        assert count_macs(flexible(msdnet).submodel(name), SHAPE) == macs
    assert [round(macs / 1e6, 2) for macs in EXIT_MACS.values()] == [14.96, 21.7, 28.78, 34.79, 41.68, 46.33, 51.88]
    assert count_macs(msdnet, SHAPE) == EXIT_MACS["exit7"]


def test_an_early_exit_runs_and_holds_nothing_later(msdnet: nn.Module) -> None:
    exit3 = flexible(msdnet).submodel("exit3")
    wanted = {
        name for name in msdnet.state_dict() if name.startswith(("blocks.0.", "blocks.1.", "blocks.2.", "heads.2."))
    }
    assert set(exit3.state_dict()) == wanted
    for name, tensor in exit3.state_dict().items():
        assert torch.equal(tensor, msdnet.state_dict()[name])


def test_all_exits_together_run_each_block_once(msdnet: nn.Module) -> None:
    ran: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in msdnet.named_modules()
        if name.count(".") == 1
    ]
    try:
        with torch.no_grad():
            flexible(msdnet).forward_all(images())
            assert sorted(ran) == sorted(f"{kind}.{i}" for kind in ("blocks", "heads") for i in range(7))
            ran.clear()
            msdnet(images())
            assert sorted(ran) == sorted([*(f"blocks.{i}" for i in range(7)), "heads.6"])
    finally:
        for hook in hooks:
            hook.remove()


def test_slimmable_mobilenet_has_the_published_sizes(slimmable: nn.Module) -> None:
    assert flexible(slimmable).submodel_names == tuple(WIDTHS)
    for name, (parameters, macs) in WIDTHS.items():
        submodel = flexible(slimmable).submodel(name)
        assert (count_parameters(submodel), count_macs(submodel, SHAPE)) == (parameters, macs)
    assert [round(macs / 1e6, 2) for _, macs in WIDTHS.values()] == [3.33, 12.17, 26.51, 46.35]
    assert count_macs(slimmable, SHAPE) == WIDTHS["width1.0"][1]


def test_one_batch_norm_per_width_and_the_rest_shared(slimmable: nn.Module) -> None:
    convolutions = [module for module in slimmable.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in slimmable.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(convolutions) == 27 and len(norms) == 4 * 27
    whole = slimmable.state_dict()
    for width, name in enumerate(WIDTHS):
        for key, tensor in flexible(slimmable).submodel(name).state_dict().items():
            shared = whole[key.replace(".norm.", f".norms.{width}.")]
            assert torch.equal(tensor, shared[tuple(slice(size) for size in tensor.shape)])


def test_training_a_width_moves_its_own_statistics_only() -> None:
    model = create_model("slimmable_mobilenet").train()
    model(images(4), 1)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(tensor) == (1 if ".norms.1." in name else 0)
