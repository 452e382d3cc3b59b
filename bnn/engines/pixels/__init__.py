"""Layers that read pixels, and what they promise to the layers behind."""
