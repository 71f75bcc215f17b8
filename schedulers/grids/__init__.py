"""Which levels: one pure maker of grids for each dialect, cached by value."""
