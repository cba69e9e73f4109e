"""Weight sharing: clustering, codebooks, and the shared parametrization."""
