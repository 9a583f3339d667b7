"""Which partition set boots next: the GPT priority bits and nothing else."""
