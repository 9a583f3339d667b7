"""Proposals: targets and snapshot metadata that several people sign, each on their own machine.

Where a role needs more signatures than the publishing machine has keys, a command that would
publish writes a proposal instead (`--propose FILE`): the new metadata, not yet signed by enough.
The file travels as a root does in a ceremony; each signer is shown what it changes, as against what
is published, and adds a signature. Then it is published, with a timestamp made there and then.

The targets themselves are written when the change is proposed. Nothing refers to them yet.
"""
