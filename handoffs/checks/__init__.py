"""The checks of a bundle, the evidence they judge, and the isolated child they run in."""
