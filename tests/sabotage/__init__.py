"""Sabotage: each guard is taken out in a throw-away copy of the project, and the test that is named must fail."""
