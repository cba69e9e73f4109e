"""Several processes that share one training: who they are, what they tell each other, and batch norm over all of them.

torchrun starts the processes, the package accelerate joins them. The first one alone writes and prints.
"""
