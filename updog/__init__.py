"""Fetch signed metadata, choose an update, stream it onto the inactive set and flip."""
