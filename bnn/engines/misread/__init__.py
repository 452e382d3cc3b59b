"""Answers of chips whose weights are misread anew at each image."""
