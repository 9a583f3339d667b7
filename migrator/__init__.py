"""Carry the settings datastore from one version to another, offline, at boot.

For authors of migrations: derive from `Migration`; see `migrator.library`.
"""

from migrator.library import Migration, migrate

__all__ = ["Migration", "migrate"]
