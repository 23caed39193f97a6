"""`--shard I/N`: cases in shares, each an output of its own, and all of them joined."""
