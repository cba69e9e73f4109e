"""The version of qacomp, which containers and checkpoints of a training name."""

VERSION = "0.1.0"
