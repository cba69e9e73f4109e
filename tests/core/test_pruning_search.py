"""EPruning's search: energies, evolution, its constraint; against brute force and independent references."""

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.errors import ConfigError
from qacomp.models import create_model, list_models, model_info
from qacomp.training.pruning.channels import trace_channels
from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.energy import SearchProblem, SearchSchedule, StateSearch
from qacomp.training.pruning.evolution import EvolutionOptions, Population, generation, offspring, search, unconstrained
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.keep_rate import KeepRate
from qacomp.training.pruning.objectives import OBJECTIVES, energy_loss, pruning_objective
from qacomp.training.pruning.scoring import score_population, score_serially, score_small, score_stacked
from qacomp.training.pruning.units import Units, apply_masks, find_units, parameter_masks


def units_of(name: str, model: nn.Module) -> Units:
    return find_units(trace_channels(model, model_info(name).input_shape))


@pytest.fixture(scope="module")
def resnet() -> tuple[nn.Module, Units]:
    torch.manual_seed(0)
    model = create_model("resnet20")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model, units_of("resnet20", model)


def random_states(units: Units, count: int, share: float = 0.7) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((count, units.count)) < share) | ~units.free


def test_a_unit_is_a_filter_or_a_dense_input() -> None:
    for name in ("lenet5", "resnet20", "resnet18", "squeezenet", "vgg11"):
        model = create_model(name)
        expected = sum(
            m.out_channels if isinstance(m, nn.Conv2d) else m.in_features
            for m in model.modules()
            if isinstance(m, nn.Conv2d | nn.Linear)
        )
        assert units_of(name, model).count == expected


def test_genes_of_an_output_layer_are_never_free() -> None:
    squeezenet = units_of("squeezenet", create_model("squeezenet"))  # its classes are filters
    assert squeezenet.free.sum() == squeezenet.count - 10 and not squeezenet.free[-10:].any()
    assert units_of("resnet20", create_model("resnet20")).free.all()


def test_energy_loss_is_equation_3() -> None:
    logits, y = torch.tensor([[2.0, 5.0, 1.0], [0.5, 0.0, -1.0]]), torch.tensor([0, 0])
    energies = -logits
    for example, label in enumerate(y.tolist()):
        others = [energies[example, j].item() for j in range(3) if j != label]
        expected = energies[example, label].item() - min(others)
        assert energy_loss(logits, y)[example].item() == pytest.approx(expected)
    with pytest.raises(ConfigError, match="energy"):
        pruning_objective("none")


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_a_population_scores_the_same_in_one_pass_and_one_by_one(resnet: tuple[nn.Module, Units], name: str) -> None:
    model, units = resnet
    gates = Gates(model, units)
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)
    states = random_states(units, 4)
    statistics = {n: b.clone() for n, b in model.named_buffers()}
    one_by_one = score_serially(model, gates, states, x, y, OBJECTIVES[name])
    for together in (score_population, score_stacked, score_small):
        np.testing.assert_allclose(together(model, gates, states, x, y, OBJECTIVES[name]), one_by_one, atol=1e-5)
    gates.remove()
    assert np.ptp(one_by_one) > 1e-3
    assert all(torch.equal(statistics[n], b) for n, b in model.named_buffers())


def test_a_gate_is_the_network_with_the_unit_set_to_zero() -> None:
    torch.manual_seed(0)
    model = create_model("lenet5").eval()
    units = units_of("lenet5", model)
    state, x = random_states(units, 1)[0], torch.randn(5, 1, 28, 28)
    gates = Gates(model, units)
    gates.set_state(state)
    before = {n: p.clone() for n, p in model.named_parameters()}
    gated = model(x)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())  # values are kept
    gates.set_state(None)
    opened = model(x)
    gates.remove()
    assert torch.equal(opened, model(x))
    apply_masks(model, parameter_masks(model, units, state))
    assert (model.get_parameter("conv1.weight").flatten(1) == 0).all(1).sum() == (~state[:20]).sum()
    torch.testing.assert_close(model(x), gated)


def test_mutation_and_crossover_are_equations_4_and_5() -> None:
    """With F = C_r = 1 a child is s1 where s2 = s3, and 1 − s1 elsewhere, for three different members."""
    states = np.random.default_rng(3).random((5, 40)) < 0.5
    children = offspring(states, EvolutionOptions(5, mutation=1.0, crossover=1.0), np.random.default_rng(0))
    for child in children:
        assert any(
            np.array_equal(child, states[a] ^ (states[b] != states[c]))
            for a in range(5)
            for b in range(5)
            for c in range(5)
            if len({a, b, c}) == 3
        )
    still = offspring(states, EvolutionOptions(5, crossover=0.0), np.random.default_rng(0))
    assert np.array_equal(still, states)  # nothing crosses over


def test_selection_keeps_the_better_and_parents_keep_their_scores() -> None:
    rng = np.random.default_rng(0)
    states = rng.random((8, 30)) < 0.5
    parents = Population(states, states.sum(1).astype(float))
    for _ in range(5):
        after = generation(parents, EvolutionOptions(), lambda s: s.sum(1).astype(float), rng, unconstrained)
        assert (after.scores <= parents.scores).all()
        parents = after
    stuck = generation(parents, EvolutionOptions(), lambda s: np.full(8, 99.0), rng, unconstrained)
    assert np.array_equal(stuck.states, parents.states) and np.array_equal(stuck.scores, parents.scores)
    assert parents.delta == pytest.approx(parents.scores.min() - parents.scores.mean()) and parents.delta <= 0


def test_states_that_met_an_easy_batch_are_replaced_only_where_they_are_scored_again() -> None:
    start = np.random.default_rng(0).random((8, 60)) < 0.5

    def evaluate(states: np.ndarray) -> np.ndarray:
        return np.asarray(states.sum(1), np.float64)

    for rescore in (True, False):
        rng = np.random.default_rng(0)
        population = Population(start, evaluate(start) - 100.0)  # an easy batch
        for _ in range(60):
            population = generation(population, EvolutionOptions(rescore=rescore), evaluate, rng, unconstrained)
        assert np.array_equal(population.states, start) != rescore
        assert np.array_equal(population.scores, evaluate(population.states)) == rescore
        assert (evaluate(population.states).min() < evaluate(start).min()) == rescore


def test_evolution_finds_the_least_energy_of_all_states_of_a_small_network() -> None:
    """12 units: brute force knows the optimum."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    model.append(nn.Linear(4, 3))
    units = find_units(trace_channels(model, (1, 6, 6)))
    assert units.count == 12
    x, y = torch.randn(40, 1, 6, 6), torch.randint(0, 3, (40,))
    every = (np.arange(4096)[:, None] >> np.arange(12) & 1).astype(bool)
    gates = Gates(model, units)
    table = np.concatenate([score_population(model, gates, part, x, y, energy_loss) for part in np.split(every, 16)])

    def evaluate(states: np.ndarray) -> np.ndarray:
        return np.asarray(table[(states << np.arange(12)).sum(1)])

    found = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        result = search(evaluate, units.free, EvolutionOptions(), 300, rng)
        found += result.scores.min() == table.min()
    assert found >= 6, found


def test_the_constraint_meets_the_share_of_real_parameters(resnet: tuple[nn.Module, Units]) -> None:
    model, units = resnet
    count = ParameterCount(model, units)
    assert count(np.ones((1, units.count), bool))[0] == count.total == 269_722
    rng = np.random.default_rng(0)
    for rate in (0.3, 0.5, 0.8):
        states = KeepRate(count, rate)(random_states(units, 6, 0.5), rng)
        np.testing.assert_allclose(count(states) / count.total, rate, atol=0.01)
        assert (count(states) <= rate * count.total).all()
    again = KeepRate(count, 0.5)(states, rng)
    assert not (again & ~states).any()  # 0.8 -> 0.5 only switches off


def test_real_parameters_count_the_inputs_that_are_gone() -> None:
    """lenet300 by hand: 784 of which 400 are read, 300 of which 100 live, 100 of which 7 live, 10."""
    model = create_model("lenet300")
    units = units_of("lenet300", model)
    state = np.zeros(units.count, bool)
    for start, live in ((0, 400), (784, 100), (1084, 7)):
        state[start : start + live] = True
    assert ParameterCount(model, units)(state[None])[0] == 100 * (400 + 1) + 7 * (100 + 1) + 10 * (7 + 1)


def test_the_state_freezes_on_convergence_or_stagnation() -> None:
    units = units_of("lenet300", create_model("lenet300"))

    def run(stagnation: int, score: float | None) -> StateSearch:
        found = StateSearch(
            SearchProblem(units, energy_loss, unconstrained, lambda r: random_states(units, 4)),
            EvolutionOptions(4),
            SearchSchedule(steps=3, stagnation=stagnation, seed=0),
        )
        rng = np.random.default_rng(0)
        for _ in range(12):
            found.step(lambda states: rng.random(len(states)) if score is None else np.full(len(states), score))
        return found

    assert [e.frozen for e in run(2, None).history] == [False, False, True, True]
    assert [e.delta is None for e in run(2, None).history] == [False, False, True, True]  # no population is left
    assert [e.frozen for e in run(9, 1.0).history] == [False, True, True, True]  # Δs = 0
    resumed = run(2, None)
    other = run(9, 1.0)
    other.load_state_dict(resumed.state_dict())
    assert np.array_equal(other.best, resumed.best) and other.history == resumed.history and other.time == 12


def test_every_plain_model_can_be_traced() -> None:
    for name in list_models():
        if model_info(name).input_shape[1] > 64 or name.startswith(("msdnet", "slimmable", "mobilenet")):
            continue
        model = create_model(name)
        units = units_of(name, model)
        assert ParameterCount(model, units).outside == 0, name


def test_equal_energies_have_converged_whatever_their_mean_rounds_to() -> None:
    states = np.ones((3, 2), bool)
    for value in (0.1, -1.1, 1e-12, 7.3):
        for count in (3, 5, 6, 7, 11):
            scores = np.full(count, value)
            population = Population(np.ones((count, 2), bool), scores)
            assert population.converged and population.delta == 0.0
    assert np.full(3, 0.1).mean() != 0.1  # so this isn't told by the mean
    assert not Population(states, np.array([0.1, 0.1, 0.1001])).converged
    assert Population(states, np.array([0.1, 0.1, 0.1001])).delta == pytest.approx(-0.0001 / 3)
    assert not Population(states, np.full(3, np.inf)).converged  # outputs that are NaN


def test_chances_of_mutation_and_crossover_are_those_asked_for() -> None:
    states = np.random.default_rng(0).random((3, 20_000)) < 0.5
    a, b, c = states
    for mutation, crossover in ((0.9, 0.9), (0.2, 0.7), (1.0, 0.0)):
        children = offspring(states, EvolutionOptions(3, mutation, crossover), np.random.default_rng(1))
        same = (a == b) & (b == c)
        assert np.array_equal(children[:, same], states[:, same])  # nothing to differ in
        # A child's gene comes from the mutation with C_r. There it is another member's, turned with F where the two
        # others differ; over all orders of the members that leaves a share that depends on F and C_r alone.
        changed = (children != states)[:, ~same].mean()
        expected = crossover * (mutation_share(mutation))
        assert changed == pytest.approx(expected, abs=0.01), (mutation, crossover)


def mutation_share(mutation: float) -> float:
    """P(a mutated gene differs from the child's own), where two members have one value and the third the other."""
    total, cases = 0.0, 0
    for values in ((0, 0, 1), (0, 1, 0), (1, 0, 0)):
        for own in range(3):
            for first, second, third in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
                turned = mutation if values[second] != values[third] else 0.0
                differs = values[first] != values[own]
                total += (1 - turned) if differs else turned
                cases += 1
    return total / cases
