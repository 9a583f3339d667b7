"""Images on their own: built without being published, to learn a root hash beforehand."""
