"""A page for each family of device models: priors with their sources, laws of both states."""
