"""`python -m qacomp` is the command `qacomp`."""

import importlib

if __name__ == "__main__":
    importlib.import_module("qacomp.cli.main").main()  # by name: the layers' imports go down, and the command is above
