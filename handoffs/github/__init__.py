"""GitHub as a forge: the one place that knows its API. No Django here."""
