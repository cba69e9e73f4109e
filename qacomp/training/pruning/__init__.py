"""Pruning: EPruning by energies and evolution, Deep Compression's by magnitude, and removal of what is dead."""
