"""Launcher for a checkout: `python cli.py run --pair det_attr`; the code is mtlbench/cli.py."""

from mtlbench.cli.main import main

if __name__ == "__main__":
    main()
