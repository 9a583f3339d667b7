"""`signpost`, and `python -m signpost`."""

from partition.streams import standard_streams
from signpost.cli import cli


def main() -> None:
    """Run the command line."""
    with standard_streams():
        cli(prog_name="signpost")


if __name__ == "__main__":
    main()
