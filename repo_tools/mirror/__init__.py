"""Copies: mirrors that can be served, and bundles that cross an air gap."""
