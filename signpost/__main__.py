"""`signpost`, and `python -m signpost`."""

from signpost.cli import cli


def main() -> None:
    """Run the command line."""
    cli(prog_name="signpost")


if __name__ == "__main__":
    main()
