"""Device models fitted to RRAM measurements."""
