"""Share weights with numpy: select tensors, cluster them, and make codebooks, grids and levels."""
