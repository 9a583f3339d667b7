"""Waves: policies, what they come to for a given update, how that looks, and how a fleet takes it.

A policy is relative ("5 % after four hours"); a manifest's waves are absolute (first seed of a wave
to its start). `policy` converts, `curve` says when which share of a fleet may update, `render`
draws that, and `simulate` lets a fleet of millions run through it. When a single host's turn comes
is decided in `updog.waves` alone; everything here asks it.
"""
