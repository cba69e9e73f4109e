"""Run the command `qacomp` for `python -m qacomp`."""

import importlib

if __name__ == "__main__":
    importlib.import_module("qacomp.cli.main").main()  # by name, since this layer must not import from qacomp.cli
