"""Everything that trains a torch network: the loop, penalties, quantizers, pruning, shared weights as modules."""
