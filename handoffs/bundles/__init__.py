"""The bundle, its archive and its patch: strict readers and the deterministic writer."""
