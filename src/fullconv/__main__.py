"""``python -m fullconv``: the command line."""

from fullconv.cli import main

main()
