"""Keys: what a public key file says, how the private half is made and reached.

A key is a pair. The public half is a small JSON file, `NAME.pub`: the key as TUF writes it, plus
the URI of its private half. Everything that only needs to *name* a key takes that file, so that a
root is drawn up without any private key near. The private half is wherever the URI says: a PEM file
(`file:`), a token behind PKCS#11 (`hsm:`), or a key service (`awskms:`, `gcpkms:`, `azurekms:`, …);
the signing itself is securesystemslib's.

Not decided here: which key may sign what (the root says), and when.
"""
