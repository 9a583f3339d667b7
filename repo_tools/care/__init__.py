"""Care: what expires when, renewing it, and checking a repository from end to end."""
