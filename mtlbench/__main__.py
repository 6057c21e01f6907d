"""`python -m mtlbench`."""

from mtlbench.cli.main import main

main()
