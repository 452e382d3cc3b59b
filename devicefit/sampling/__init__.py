"""Priors, compiled densities, modes and chains: nothing here knows a device."""
