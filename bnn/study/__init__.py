"""A network with its record and counts: what is counted, and how it is named."""
