"""Folders of a model, as transformers writes them: their files, and how a container holds them. Doesn't need torch."""
