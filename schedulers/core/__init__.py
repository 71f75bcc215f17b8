"""What a run is made of: levels, calls, coefficients, grids, kernels, and the one class with state."""
