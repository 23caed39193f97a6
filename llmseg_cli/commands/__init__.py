"""Words in, one workflow call, words out."""
