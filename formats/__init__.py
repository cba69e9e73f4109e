"""The container and its codecs: numpy and zstandard only."""
