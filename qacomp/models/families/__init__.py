"""The architectures, a file for each family: every file here registers what it declares."""
