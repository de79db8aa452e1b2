"""What a change reaches: the control plane, gates that cannot fail, hidden text, credentials."""
