"""Long runs under kills; only `make chaos` runs them."""
