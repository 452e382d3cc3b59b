"""Devices and readings that nobody measured."""
