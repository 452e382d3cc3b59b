"""A network with its record and counts: names, treatments, grids, what is counted."""
