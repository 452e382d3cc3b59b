"""Numbers, machine code and files: nothing here knows a device."""
