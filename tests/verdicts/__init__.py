"""Tests of the verdicts app."""
