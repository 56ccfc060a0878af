"""`python -m bench`, and the command `bench`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C while it is loaded ends it without a traceback, too."""
    try:
        from bench.commands.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
