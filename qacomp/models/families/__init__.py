"""The architectures, one file for each family; every file here registers those that it declares."""
