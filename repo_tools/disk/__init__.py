"""Disks for trying things out, and the layout that real ones have."""
