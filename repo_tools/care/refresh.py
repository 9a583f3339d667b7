"""Renewing metadata before it expires, with as few keys as possible.

What is near its expiry gets a new version, and what refers to it too: new targets need a new
snapshot, that a new timestamp. Run by a timer where the timestamp key (and perhaps the snapshot
key) is; roles whose keys are not there are left alone, and named. Nothing else changes: manifest
and targets stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from repo_tools.care.expiry import expiries
from repo_tools.publish.release import CONTENT_ROLES, Change, Outcome

if TYPE_CHECKING:
    from datetime import timedelta

    from tuf.api.metadata import Root

    from repo_tools.publish.how import How
    from repo_tools.publish.session import Session
    from repo_tools.publish.signing import Signing


def refresh(session: Session, signing: Signing, how: How, *, within: timedelta | None) -> Outcome:
    """Renew what expires soon.

    Args:
        session: The repository.
        signing: Keys at hand, and how long new signatures are good.
        how: How to carry it out.
        within: Renew what expires within this time; `None`: what has less than half of its usual
            validity left.
    """
    root = session.ground.voters[-1]
    windows = {
        role: signing.valid_for(role) / 2 if within is None else within
        for role in ("root", *CONTENT_ROLES)
    }
    near = {
        each.role: each for each in expiries(session.published, signing.now, windows) if each.near
    }
    if "root" in near:
        how.show(
            f"root expires on {near['root'].expires:%Y-%m-%d}: its keys have to sign a new one"
        )
    renewable = [
        role
        for role in CONTENT_ROLES
        if role in near and (how.proposal is not None or _can_renew(role, root, signing))
    ]
    for role in CONTENT_ROLES:
        if role in near and role not in renewable:
            until = f"{near[role].expires:%Y-%m-%d}"
            how.show(f"{role} expires on {until}, and cannot be renewed with the keys at hand")
    if not renewable:
        return session.unchanged("nothing to renew", how)
    return session.carry_out(Change(roles=_with_referring(renewable[0])), signing, how)


def _with_referring(role: str) -> tuple[str, ...]:
    """A role, and those that refer to it."""
    return CONTENT_ROLES[CONTENT_ROLES.index(role) :]


def _can_renew(role: str, root: Root, signing: Signing) -> bool:
    """Whether the keys at hand can sign a role, and those that refer to it."""
    return all(signing.suffices(root, each) for each in _with_referring(role))
