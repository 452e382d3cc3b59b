"""Trained networks that come with the package, as packed bits with their provenance."""

from bnn.zoo.networks import ZOO_PREFIX, ZooNetwork, load_zoo, open_network, zoo_networks

__all__ = ["ZOO_PREFIX", "ZooNetwork", "load_zoo", "open_network", "zoo_networks"]
