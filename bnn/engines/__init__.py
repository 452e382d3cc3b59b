"""Engines that compute the answers of a folded network, all with the same integers."""
