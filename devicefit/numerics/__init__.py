"""Numbers without devices, and files: nothing here knows a device."""
