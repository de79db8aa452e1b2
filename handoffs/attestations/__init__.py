"""Statements in the words of in-toto and SLSA: read strictly, judged honestly, written."""
