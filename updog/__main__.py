"""`python -m updog`, and the `updog` command."""

from updog.cli import cli


def main() -> None:
    """Run the command line."""
    cli(prog_name="updog")


if __name__ == "__main__":
    main()
