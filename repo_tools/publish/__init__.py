"""Publishing: what is there, what it becomes, and in which order it goes out.

- `published`: what is there, verified from the trusted root; `draft`: the metadata that follows.
- `manifest_edit` and `checks`: the manifest's next state, and every reason to refuse it (pure).
- `plan`: the order of writes that no reader can trip over (pure).
- `session`, `release`: one publish from beginning to end, whatever it changes.
- `first`, `update`, `root_change`: a new repository, a new update, a new root.
- `rehearse`: updog's own client against all of it.
"""
