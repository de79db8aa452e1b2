"""Signatures made and verified: OpenPGP, Sigstore, trusted roots and the rules of keys."""
