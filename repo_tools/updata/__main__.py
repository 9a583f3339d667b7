"""`updata`, and `python -m repo_tools.updata`."""

from repo_tools.updata.cli import updata


def main() -> None:
    """Run the command line."""
    updata(prog_name="updata")


if __name__ == "__main__":
    main()
