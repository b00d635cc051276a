"""`python -m flows`: the same as `x0tta6bl4`."""

from flows.cli import main

main()
