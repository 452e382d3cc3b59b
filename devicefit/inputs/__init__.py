"""What a user's files call things: columns, quantities, programming, and how they are refused."""
