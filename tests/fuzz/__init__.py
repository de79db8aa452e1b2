"""Fuzzing: seeded mutations of good inputs, judged against other readers. Short form in the tests, long by `make fuzz`."""
