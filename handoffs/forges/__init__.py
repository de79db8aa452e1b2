"""The forges a pull request lives on, behind one protocol, and the hooks of the local one."""
