"""The layer against the paper's algebra, against autograd, and against torch's fused kernel."""

import pytest
import torch
from torch import nn

from batchnorm.layers import (
    BATCH_NORMS,
    NORMS,
    ActivationBatchNorm,
    BatchNorm,
    DetachedBatchNorm,
    ShiftNoise,
    TorchBatchNorm,
    fold,
    folded,
    gather_population_statistics,
)

SHAPES = {
    "activations": (5, (12, 5)),
    "feature maps": (3, (4, 3, 6, 5)),
    "activations of maps": ((3, 4, 2), (6, 3, 4, 2)),
}


def layer_and_input(name: str, dtype=torch.float64) -> tuple[BatchNorm, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features, shape = SHAPES[name]
    layer = BatchNorm(features).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) + 1)
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator))
    x = 3 * torch.randn(shape, generator=generator, dtype=dtype) + 2
    return layer, x.requires_grad_()


def by_definition(layer: BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """Algorithm 1 in elementary operations, for autograd to differentiate."""
    over = (0, 2, 3) if len(layer.features) == 1 and x.dim() == 4 else (0,)
    shape = [1, -1, 1, 1] if len(over) == 3 else [1, *layer.features]
    mu = x.mean(over, keepdim=True)
    var = (x - mu).pow(2).mean(over, keepdim=True)
    xhat = (x - mu) / (var + layer.eps).sqrt()
    return layer.weight.view(shape) * xhat + layer.bias.view(shape)


def gradients(y: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape).sin()
    return list(torch.autograd.grad((weights * y).sum() + (y**3).sum() / 10, inputs))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", SHAPES)
def test_the_six_gradients_equal_autograds_and_finite_differences(name):
    layer, x = layer_and_input(name)
    explicit = gradients(layer(x), x, layer.weight, layer.bias)
    autograd = gradients(by_definition(layer, x), x, layer.weight, layer.bias)
    for ours, theirs in zip(explicit, autograd, strict=True):
        assert relative(ours, theirs) < 1e-9
    weights = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view(x.shape).sin()

    def value() -> torch.Tensor:
        y = layer(x)
        return (weights * y).sum() + (y**3).sum() / 10

    for tensor, ours in zip((x, layer.weight, layer.bias), explicit, strict=True):
        numeric, flat = torch.zeros_like(tensor).view(-1), tensor.detach().view(-1)
        for i, kept in enumerate(flat.tolist()):
            with torch.no_grad():
                flat[i] = kept + 1e-5
                above = value()
                flat[i] = kept - 1e-5
                numeric[i] = (above - value()) / 2e-5
                flat[i] = kept
        assert relative(ours, numeric.view(tensor.shape)) < 1e-6


def test_the_input_gradient_sees_no_shift_and_no_scale():
    layer, x = layer_and_input("activations")
    layer.eps = 1e-12
    (dx,) = gradients(layer(x), x)
    xhat = (x - x.mean(0)) / x.std(0, correction=0)
    assert dx.sum(0).abs().max() < 1e-9
    assert (dx * xhat).sum(0).abs().max() < 1e-6


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    ("name", "theirs"), [("activations", nn.BatchNorm1d), ("feature maps", nn.BatchNorm2d)]
)
def test_the_fused_kernel_does_the_same(name, theirs, mode):
    layer, x = layer_and_input(name)
    fused = theirs(layer.features[0]).double()
    fused.load_state_dict(layer.state_dict())
    for scale in (1.0, 2.0, 0.5):  # three batches, for the running statistics
        layer(x * scale)
        fused(x * scale)
    getattr(layer, mode)()
    getattr(fused, mode)()
    torch.testing.assert_close(layer(x), fused(x), rtol=1e-10, atol=1e-10)
    ours = gradients(layer(x), x, layer.weight, layer.bias)
    fuseds = gradients(fused(x), x, fused.weight, fused.bias)
    torch.testing.assert_close(ours, fuseds, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dict(layer.named_buffers()), dict(fused.named_buffers()))


@pytest.mark.parametrize("a", [0.1, 10.0, -3.0])
def test_the_scale_of_the_weights_does_not_matter(a):
    """Section 3.3: BN((aW)u) = BN(Wu), the same Jacobian, and 1/a of the weight gradient. A
    negative a also turns the sign of the output, which the test undoes."""
    generator = torch.Generator().manual_seed(1)
    u = torch.randn(20, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.randn(5, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    layer = BatchNorm(5, eps=0).double()
    aw = (a * w).detach().requires_grad_()
    sign = 1 if a > 0 else -1
    y, scaled = layer(u @ w.T), sign * layer(u @ aw.T)
    torch.testing.assert_close(y, scaled, rtol=1e-10, atol=1e-10)
    du, dw = gradients(y, u, w)
    du_scaled, dw_scaled = gradients(scaled, u, aw)
    torch.testing.assert_close(du, du_scaled, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(dw / a, dw_scaled, rtol=1e-8, atol=1e-9)
    assert (dw * w).sum(1).abs().max() < 1e-9  # so that ||W|| can only grow


@pytest.mark.parametrize("a", [0.1, 10.0])
def test_what_eps_adds_to_the_scale_of_the_weights(a):
    """To first order the output shrinks by eps / (2 variance); small weights, of a small variance,
    so by 1/a^2 as much: at 0.1 of the scale by 0.05 % where the variance is 1, eps 1e-5."""
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    layer = BatchNorm(5, eps=1e-5).double()
    shrunk = 1 - float((layer(a * x) / layer(x)).detach().median())
    assert shrunk == pytest.approx(1e-5 / 2 * (1 / a**2 - 1), rel=0.01)


@pytest.mark.parametrize("name", ["activations", "feature maps"])
def test_detached_statistics_are_constants_to_the_gradient(name):
    reference, x = layer_and_input(name)
    layer = DetachedBatchNorm(reference.features[0]).double()
    layer.load_state_dict(reference.state_dict())
    y, expected = layer(x), reference(x)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(dict(layer.named_buffers()), dict(reference.named_buffers()))
    over = (0, *range(2, x.dim()))
    shape = (1, -1, *[1] * (x.dim() - 2))
    std = (x.detach().var(over, correction=0) + layer.eps).sqrt()
    dy, dx = gradients(y, y, x)
    torch.testing.assert_close(dx, dy * (layer.weight / std).view(shape), rtol=1e-9, atol=1e-9)
    assert relative(dx, gradients(expected, x)[0]) > 0.1
    layer.eval(), reference.eval()
    torch.testing.assert_close(layer(x), reference(x), rtol=1e-10, atol=1e-10)


def test_detached_statistics_give_a_gradient_to_a_bias_that_changes_nothing():
    """Section 2's example: the step in b leaves the output, and so the loss, where they were."""
    _, x = layer_and_input("activations")
    for norm, moves in ((BatchNorm, False), (TorchBatchNorm, False), (DetachedBatchNorm, True)):
        layer, b = norm(5).double(), torch.zeros(5, dtype=torch.float64, requires_grad=True)
        y = layer(x + b)
        (db,) = gradients(y, b)
        assert (float(db.abs().min()) > 0.1) is moves
        torch.testing.assert_close(layer(x + b - db), y, rtol=1e-8, atol=1e-8)


def test_without_gamma_and_beta_there_is_nothing_to_learn():
    layer, plain = NORMS["batch_no_affine"](3, (6, 5)), NORMS["batch"](3, (6, 5))
    assert list(layer.parameters()) == []
    x = 3 * torch.randn(4, 3, 6, 5) + 2
    torch.testing.assert_close(layer(x), plain(x))
    torch.testing.assert_close(layer.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("features", [(3, 4, 2), (12,)])
def test_per_activation_is_the_reference_with_one_pair_per_activation(features):
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(6, *features, generator=generator, dtype=torch.float64) + 2
    x.requires_grad_()
    reference, layer = BatchNorm(features).double(), NORMS["batch_per_activation"]
    layer = layer(features[0], features[1:]).double()
    assert isinstance(layer, ActivationBatchNorm)

    def as_theirs(name: str) -> torch.Tensor:
        return getattr(reference, name).movedim(0, -1).flatten()

    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(reference, name).copy_(torch.randn(features, generator=generator))
            getattr(layer, name).copy_(as_theirs(name))
    for mode in (True, False):
        layer.train(mode), reference.train(mode)
        torch.testing.assert_close(layer(x), reference(x), rtol=1e-10, atol=1e-10)
        ours, theirs = gradients(layer(x), x)[0], gradients(reference(x), x)[0]
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(layer, name), as_theirs(name))


@pytest.mark.parametrize("name", ["batch_detached", "batch_no_affine", "batch_per_activation"])
def test_under_autocast_the_statistics_are_still_those_of_float32(name):
    x = torch.randn(64, 4, 6, 5) + 20
    layer, single = NORMS[name](4, (6, 5)), NORMS[name](4, (6, 5))
    y, expected = layer(x.bfloat16()), single(x.bfloat16().float())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(layer.running_var, single.running_var, rtol=1e-4, atol=1e-4)


def test_a_batch_of_one_value_is_refused():
    with pytest.raises(ValueError, match="more than one value"):
        BatchNorm(3)(torch.zeros(1, 3))
    BatchNorm(3)(torch.zeros(1, 3, 2, 2))  # four values per map


@pytest.fixture(params=["batch", "batch_reference"])
def network(request) -> nn.Sequential:
    torch.manual_seed(3)
    norm = NORMS[request.param]
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        norm(6, ()),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1, stride=2),
        norm(4, ()),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )


def test_population_statistics_are_means_over_batches(network):
    batches = [torch.randn(8, 3, 5, 5) * (1 + i) + i for i in range(4)]
    before = {name: p.clone() for name, p in network.named_parameters()}
    network.train()
    gather_population_statistics(network, batches)
    outputs = [network[0](batch) for batch in batches]
    expected = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    torch.testing.assert_close(network[1].running_mean, expected, rtol=1e-4, atol=1e-5)
    variances = [y.var((0, 2, 3), correction=1) for y in outputs]  # m' / (m' - 1), m' = 8 * 5 * 5
    torch.testing.assert_close(
        network[1].running_var, torch.stack(variances).mean(0), rtol=1e-4, atol=1e-5
    )
    assert all(module.training for module in network.modules())
    assert network[1].momentum == 0.1
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])


def test_population_statistics_of_the_second_layer_see_batch_statistics_and_no_dropout(network):
    network[2] = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    batches = [torch.randn(8, 3, 5, 5) * (1 + i) + i for i in range(4)]
    gather_population_statistics(network, batches)
    first = BatchNorm(6)
    means = [network[3](torch.relu(first(network[0](b)))).mean((0, 2, 3)) for b in batches]
    expected = torch.stack(means).mean(0)
    torch.testing.assert_close(network[4].running_mean, expected, rtol=1e-4, atol=1e-5)


def test_inference_does_not_depend_on_the_other_images_of_a_batch(network):
    gather_population_statistics(network, [torch.randn(8, 3, 5, 5) for _ in range(4)])
    network = network.double().eval()
    images = torch.randn(16, 3, 5, 5, dtype=torch.float64)
    others = images.clone()
    others[1:] = 100 * torch.randn(15, 3, 5, 5, dtype=torch.float64)
    assert torch.equal(network(images)[0], network(others)[0])
    network.train()
    assert not torch.allclose(network(images)[0], network(others)[0])


def test_folding_changes_nothing(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    gather_population_statistics(network, [torch.randn(8, 3, 5, 5) for _ in range(4)])
    network.eval()
    images = torch.randn(32, 3, 5, 5)
    short = folded(network)
    assert not any(isinstance(m, BATCH_NORMS) for m in short.modules())
    assert (short(images) - network(images)).abs().max() < 1e-5
    assert isinstance(network[1], BATCH_NORMS), "the original is left alone"


def test_a_batch_norm_of_ones_own_is_not_folded_into_another_inference():
    class Clamped(nn.BatchNorm2d):
        def forward(self, input):
            return super().forward(input).clamp(-0.1, 0.1)

    network = nn.Sequential(nn.Conv2d(3, 4, 1), Clamped(4)).eval()
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(folded(network)(x), network(x))
    with pytest.raises(ValueError, match="Clamped cannot be folded"):
        fold(*network)


def test_folding_into_a_linear_layer():
    layer, norm = nn.Linear(6, 5).double(), BatchNorm(5).double()
    norm(torch.randn(30, 5, dtype=torch.float64) * 3 + 1)
    norm.eval()
    u = torch.randn(9, 6, dtype=torch.float64)
    torch.testing.assert_close(fold(layer, norm)(u), norm(layer(u)), rtol=1e-12, atol=1e-12)


def test_what_cannot_be_folded_is_refused():
    with pytest.raises(ValueError, match="cannot be folded"):
        fold(nn.Conv2d(3, 3, 1), BatchNorm((3, 4, 4)))
    with pytest.raises(ValueError, match="cannot be folded"):
        fold(nn.Conv2d(3, 3, 1), NORMS["batch_per_activation"](3, (4, 4)))
    with pytest.raises(ValueError, match="cannot be folded"):
        fold(nn.Linear(3, 3), nn.Identity())


# --- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [(), (3, 2)])
def test_noise_is_of_a_distribution_of_its_own_for_each_map_at_each_step(places):
    torch.manual_seed(0)
    layer, m, maps = ShiftNoise().train(), 400, 500
    zeros, ones = (torch.full((m, maps, *places), float(value)) for value in (0, 1))
    shifts = layer(zeros)
    assert shifts.shape == zeros.shape
    everywhere = shifts.reshape(m, maps, -1)
    of_map = everywhere[..., 0]
    assert torch.equal(everywhere, of_map[..., None].expand_as(everywhere))
    mu = of_map.mean(0)
    assert mu.abs().max() < 0.52 and mu.std() == pytest.approx(12**-0.5, rel=0.1)
    assert (of_map - mu).abs().max() < 0.12 and (of_map - mu).std() == pytest.approx(
        0.2 * 12**-0.5, rel=0.02
    )
    torch.manual_seed(0)
    factors = (layer(ones) - shifts).reshape(m, maps, -1)[..., 0]  # the same draws
    sigma = factors.mean(0)
    assert sigma.min() > 0.97 and sigma.max() < 1.28
    assert sigma.std() == pytest.approx(0.25 * 12**-0.5, rel=0.1)
    assert (factors - sigma).std() == pytest.approx(0.1, rel=0.02)
    assert not torch.equal(layer(zeros), shifts), "anew at the next step"


def test_without_training_noise_is_its_mean():
    x = torch.randn(5, 3, 2, 2)
    layer = ShiftNoise()
    torch.manual_seed(0)
    mean = torch.stack([layer.train()(x) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(layer.eval()(x), mean, atol=0.05, rtol=0.02)
