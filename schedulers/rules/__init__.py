"""The mathematics of the solvers: levels in, rows of floats out. No arrays here."""
