"""`repo-tools`, and `python -m repo_tools`."""

from repo_tools.cli import repo_tools


def main() -> None:
    """Run the command line."""
    repo_tools(prog_name="repo-tools")


if __name__ == "__main__":
    main()
