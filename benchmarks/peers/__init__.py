"""Other servers beside this one, on the same machine, with the same checkpoint and the same load, in one run."""
