"""Rate-aware sharing: uniform grids, error compensation, and a step for each tensor by its effect on the outputs."""
