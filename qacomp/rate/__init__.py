"""Rate-aware sharing: uniform grids, error compensation, and one step for each tensor by what the outputs feel."""
