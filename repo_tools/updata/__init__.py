"""`updata`: Bottlerocket's manifest editor, for pipelines that have it already."""
