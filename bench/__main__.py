"""The entry point of `python -m bench`."""

from bench.commands.main import main

main()
