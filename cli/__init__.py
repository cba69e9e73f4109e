"""Run qacomp from the command line."""
