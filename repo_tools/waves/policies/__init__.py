"""The named wave policies, as TOML files beside this module.

`default`, `accelerated`, `slow` and `emergency` have the waves of Bottlerocket's policies of that
purpose; `steady` is ours.
"""

from __future__ import annotations

from importlib import resources

from repo_tools.errors import PolicyInvalid
from repo_tools.waves.policy import WavePolicy, parse_policy


def policy_names() -> tuple[str, ...]:
    """The policies that come along."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


def policy_text(name: str) -> str:
    """The TOML of a policy that comes along.

    Raises:
        PolicyInvalid: There is none of that name.
    """
    if name not in policy_names():
        raise PolicyInvalid(name, f"there is no such file or policy ({', '.join(policy_names())})")
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")


def named_policy(name: str) -> WavePolicy:
    """One of the policies that come along."""
    return parse_policy(policy_text(name), name)
