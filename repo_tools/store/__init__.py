"""Where a repository lives, and how a file gets there.

A store holds files under slash-separated names below one location. Two kinds of file exist: those
that never change once they are there (targets and versioned metadata, whose names say what they
are), and `timestamp.json`, the one name whose contents move on. Everything that makes publishing
safe follows from writing the first kind before the second.

Not decided here: the order of writes (`repo_tools.publish.plan`), or what is in the files.
"""
