"""References of the optimizers in `jopt/optimizers/`: a file for each file there."""
