"""The engine that follows only what wrong weights change."""
