"""Fixtures of the tests of the tests."""

from tests.support.places import place

__all__ = ["place"]
