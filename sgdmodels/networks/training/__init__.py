"""Steps of every dynamics on a network, ensembles, and where a run stands."""
