"""The root of trust: drawing one up, signing it in a ceremony, and following one to the next.

A root under way is a plain TUF root file with fewer signatures than it needs. It travels from
person to person; each looks at what it says, adds a signature, and passes it on. Only a root whose
own threshold *and* its predecessor's are met can be published.

Not decided here: where a root is published and what has to be signed again with it
(`repo_tools.publish.root_change`).
"""
