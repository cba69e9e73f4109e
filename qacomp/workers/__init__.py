"""Run many independent tasks in this process, on the cores of this machine, or on a cluster."""
