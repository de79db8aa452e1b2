"""The embedded stack: PostgreSQL, a broker and the portal's processes on one machine with nothing installed.

Never imports Django: it runs before there is a database to talk to.
"""
