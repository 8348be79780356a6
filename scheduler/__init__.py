"""Who runs where: the port to real schedulers and the simulated one (C3O Algorithms 1-2)."""
