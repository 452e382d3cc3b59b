"""Which further measurement is worth most: the decision once more, with weights of the draws."""
