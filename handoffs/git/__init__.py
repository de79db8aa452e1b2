"""Git, read and written without a work tree: objects through libgit2, patches applied by git itself."""
