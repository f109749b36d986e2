"""Entry point of `python -m cellbench`."""

from cellbench.cli.main import main

main()
