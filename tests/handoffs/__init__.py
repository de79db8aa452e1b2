"""Tests of the handoffs app."""
