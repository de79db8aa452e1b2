"""The GitHub adapter: one connection for each App, the mirror of a repository, and the forge made of both."""
