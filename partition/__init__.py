"""Bytes and devices: GUID partition tables, block devices, dm-verity trees, durable files."""
