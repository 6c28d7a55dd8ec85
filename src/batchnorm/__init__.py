"""A reproduction of Ioffe and Szegedy's Batch Normalization (arXiv 1502.03167)."""
