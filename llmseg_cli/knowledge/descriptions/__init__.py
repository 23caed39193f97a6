"""Texts about a target: the prompt, language models and their servers, the reviewed library."""
