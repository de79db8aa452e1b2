"""The builder and enforcer lanes: bundles, checks, signatures, forges, pull requests."""
