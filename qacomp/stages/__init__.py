"""The stages of a compression, a file each."""
