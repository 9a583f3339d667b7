"""Fixtures of the fuzz tests."""

from tests.support.places import place

__all__ = ["place"]
