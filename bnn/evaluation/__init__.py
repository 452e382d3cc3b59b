"""From network, errors and images to counts of right answers."""
