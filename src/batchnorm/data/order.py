"""Which training images are in which batch: a function of the seed and the step alone."""

import torch
from torch import Tensor

from batchnorm.config import Data
from batchnorm.seeds import stream


class Order:
    """The order in which a run sees n training images.

    All are shuffled anew each epoch. Or, with `shards`, they are cut at random into so many lots
    of equal size (to one image), once for all; an epoch takes the lots in a new order, and the
    images of a lot in a new order too (the within-shard shuffling of section 4.2.1), or, where
    `shuffle_within` is false, always in the same, so that neighbours keep sharing batches. With
    `fixed_batches`, the batches of the first epoch come again in another order; images left out of
    it never come.
    """

    def __init__(self, n: int, config: Data, seed: int, device: torch.device) -> None:
        self.n, self.seed, self.device, self.batch_size = n, seed, device, config.batch_size
        self.fixed, self.shards = config.fixed_batches, min(config.shards, n)
        self.within = config.shuffle_within
        self.per_epoch = n // self.batch_size  # a last, smaller batch is left out
        self._epoch, self._order = -1, torch.empty(0)

    def chosen(self, step: int) -> Tensor:
        """Which training images are in the batch of one step."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._ordered(epoch).to(self.device)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    def population(self, count: int) -> Tensor:
        """The images of `count` batches, (count, batch_size): the same at every call."""
        generator = torch.Generator().manual_seed(stream(self.seed, "population", 0))
        order = torch.randint(self.n, (count, self.batch_size), generator=generator)
        return order.to(self.device)

    def _ordered(self, epoch: int) -> Tensor:
        """The images of an epoch, in the order in which they are seen."""
        if self.fixed and epoch > 0:
            batches = self._ordered(0)[: self.per_epoch * self.batch_size]
            return batches.view(self.per_epoch, -1)[
                self._permutation(self.per_epoch, epoch)
            ].flatten()
        return self._shuffled_by_shard(epoch) if self.shards else self._permutation(self.n, epoch)

    def _shuffled_by_shard(self, epoch: int) -> Tensor:
        shards = self._permutation(self.n, 0, "shards").tensor_split(self.shards)
        generator = torch.Generator().manual_seed(stream(self.seed, "order", epoch))
        order = torch.randperm(self.shards, generator=generator).tolist()
        if not self.within:
            return torch.cat([shards[i] for i in order])
        return torch.cat(
            [shards[i][torch.randperm(len(shards[i]), generator=generator)] for i in order]
        )

    def _permutation(self, n: int, index: int, name: str = "order") -> Tensor:
        generator = torch.Generator().manual_seed(stream(self.seed, name, index))
        return torch.randperm(n, generator=generator)
