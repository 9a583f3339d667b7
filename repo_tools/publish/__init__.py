"""Publishing: what is there, what it becomes, and in which order it goes out.

- `repository`: the published metadata, verified from the trusted root, and a draft of what follows.
- `manifest_edit` and `checks`: the manifest's next state, and every reason to refuse it (pure).
- `plan`: the order of writes that no reader can trip over (pure).
- `update`, `root_change`: one publish from beginning to end.
"""
