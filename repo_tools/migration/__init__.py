"""Migrations on the owner's side: packing an author's class, and what a migration loses.

What a migration is and does is the `migrator` package's business; docs/migrations.md has it all.
"""
