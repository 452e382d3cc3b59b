"""What is said of a decision: loss, risk, regret, choices, other images, life."""
