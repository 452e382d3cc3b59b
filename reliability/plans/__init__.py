"""What is programmed how: the plan that a decision is about."""
