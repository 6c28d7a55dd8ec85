"""Photometric distortion, after Howard 2013 (arXiv 1312.5402): one affine map of the colours for
each image, and so one batched matrix product for a batch."""

import torch
from torch import Generator, Tensor

LUMA = (0.299, 0.587, 0.114)  # the grey of a colour
LARGEST = 0.5  # at strength 1, factors are drawn from 1 - LARGEST to 1 + LARGEST
LIGHTING = 0.1  # at strength 1, in deviations of the pixels, along their principal components


def draw(m: int, generator: Generator) -> Tensor:
    """The random numbers (m, 6) behind the distortion of m images: three factors, uniform from -1
    to 1, and three normal ones. On the CPU."""
    factors = 2 * torch.rand(m, 3, generator=generator) - 1
    return torch.cat([factors, torch.randn(m, 3, generator=generator)], 1)


def principal_components(covariance: Tensor) -> Tensor:
    """Of the colours of pixels with this covariance (3, 3): the columns, each as long as the
    deviation along it."""
    values, vectors = torch.linalg.eigh(covariance.double())
    signs = torch.where(vectors.sum(0) < 0, -1.0, 1.0)  # eigh leaves the sign open
    return (vectors * signs * values.clamp_min(0).sqrt()).float()


def colour_maps(
    drawn: Tensor, strength: float, means: Tensor, components: Tensor
) -> tuple[Tensor, Tensor]:
    """The maps of colours, matrices (m, 3, 3) and offsets (m, 3), for images of mean colours
    (m, 3): x -> matrix x + offset, in 0 to 255; nothing is clipped.

    In this order: saturation (away from or towards the pixel's grey), contrast (likewise, the
    image's mean grey), brightness, each by a factor of 1 +- 0.5 strength; then lighting
    (Krizhevsky et al. 2012), 0.1 strength normal deviations along each principal component of
    the training pixels. At strength 0, the identity.
    """
    drawn = drawn.to(means.device, non_blocking=True)
    saturation, contrast, brightness = (1 + LARGEST * strength * drawn[:, :3]).unbind(1)
    luma = torch.tensor(LUMA).to(means.device, non_blocking=True)
    eye, grey = torch.eye(3, device=means.device), luma.expand(3, 3)
    saturated = grey + saturation[:, None, None] * (eye - grey)  # (m, 3, 3)
    matrix = (brightness * contrast)[:, None, None] * saturated
    mean_grey = means @ luma  # that of the saturated image too
    offset = (brightness * (1 - contrast) * mean_grey)[:, None].expand(-1, 3)
    return matrix, offset + LIGHTING * strength * drawn[:, 3:] @ components.T
