"""What tests build on: row factories and builders that break one thing at a time."""
