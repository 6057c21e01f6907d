"""`python -m mtlbench`."""

from mtlbench.cli import main

main()
