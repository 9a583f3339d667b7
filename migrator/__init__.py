"""Carry the settings datastore from one version to another, offline, at boot."""
