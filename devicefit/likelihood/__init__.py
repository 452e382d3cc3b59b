"""The one fast likelihood of binned and bounded readings, with its gradient, for PyTensor."""
