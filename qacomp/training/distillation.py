"""The loss of a flexible network, whose sub-models learn from the labels and from larger ones (IPKD-TA).

The losses of Ozerov and Duong (2021), over the logits of all sub-models, are in `qacomp.training.teaching`.

When a trained network is compressed, the network before compression is a better teacher than the largest sub-model,
whose weights get the gradients of all others: `guided_loss` adds it.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from qacomp.batches.feed import mapped
from qacomp.models.flexible import FlexibleModel
from qacomp.options.method import MethodChoice
from qacomp.training.teaching import DISTILLATION, Lesson, TeachingOptions


def flexible_loss(strategy: str, logits: Sequence[Tensor], y: Tensor, lesson: Lesson) -> Tensor:
    """Return the loss called `strategy`, a kind of --distill or none: scalar float32.

    logits: one tensor (B, classes) for each sub-model, smallest first; for a single sub-model all losses are its
    cross-entropy. Raises ConfigError for an unknown name.
    """
    if strategy == "none":
        return lesson.supervised(logits, y)
    return DISTILLATION.find(strategy)(logits, y, lesson)


def guided_loss(strategy: str, logits: Sequence[Tensor], guide: Tensor, y: Tensor, lesson: Lesson) -> Tensor:
    """Return `flexible_loss` with another network as one more teacher above all sub-models: scalar float32.

    guide: (B, classes) logits of that network, which isn't trained, such as the network before compression. The loss is
    that of n + 1 sub-models, without the guide's own cross-entropy, which is constant. With strategy none there is no
    teacher.
    """
    if strategy == "none":
        return lesson.supervised(logits, y)
    fixed = mapped(guide, lambda tensor: tensor.detach())
    everything = flexible_loss(strategy, [*logits, fixed], y, lesson)
    return everything - lesson.criterion(fixed, y)


def among_submodels(method: MethodChoice) -> bool:
    """Return whether sub-models learn from larger ones by this choice of --distill."""
    options: TeachingOptions = DISTILLATION.options(method)
    return method.chosen and options.among_submodels


def lesson_of(model: nn.Module, method: MethodChoice) -> Lesson:
    """Return λ, τ and the distance: the given ones, else the method's own λ and the network's default τ."""
    options: TeachingOptions = DISTILLATION.options(method)
    weight = options.default_weight if options.weight is None else options.weight
    given = options.temperature
    temperature = default_temperature(model, among=among_submodels(method)) if given is None else given
    return Lesson(weight, temperature, options.loss)


def with_lesson(model: nn.Module, method: MethodChoice) -> MethodChoice:
    """Return the method with λ filled in, and τ if its loss has a temperature."""
    lesson = lesson_of(model, method)
    softened = DISTILLATION.options(method).softened
    tempered = method.filled(weight=lesson.weight, temperature=lesson.temperature)
    return tempered if softened else method.filled(weight=lesson.weight)


def default_temperature(model: nn.Module, *, among: bool) -> float:
    """Return the default τ: the paper's 5 for exits and 1 for widths; 1 for levels of precision, else 2.

    among: sub-models learn from larger ones. Levels share all their weights, as widths do. With 2 the coarsest level
    would learn more, and its larger gradients would harm the finer levels. A network without sub-models gets levels,
    unless it is taught by itself (`kd`).
    """
    if isinstance(model, FlexibleModel):
        return 5.0 if model.submodel_names[0].startswith("exit") else 1.0
    return 1.0 if among else 2.0
