"""Measurements that anybody can repeat: one command each, ratios rather than seconds."""
