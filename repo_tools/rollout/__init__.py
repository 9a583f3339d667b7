"""A rollout under way: pausing, resuming, speeding up, recalling."""
