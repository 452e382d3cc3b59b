"""The folded network: layers, hash, file, copies of neurons."""
