"""Hold the version of qacomp, which containers and the checkpoints of `qacomp train` record."""

VERSION = "0.1.0"
