"""Pruning: EPruning (by energies and evolution), magnitude pruning, and the removal of dead channels."""
