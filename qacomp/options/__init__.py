"""Declare every option of a compression once; each group of options is a file."""
