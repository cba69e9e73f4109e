"""The formats that decode writes, a file each: every file here registers its own suffix."""
