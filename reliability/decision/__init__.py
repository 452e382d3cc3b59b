"""What is safe, what it saves, and against what: the decision on draws that go together."""
