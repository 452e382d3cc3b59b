"""Numbers and machine code: nothing here knows a device."""
