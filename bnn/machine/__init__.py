"""Machine code and its words: nothing here knows a network."""
