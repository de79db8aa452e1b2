"""The whole portal in one terminal.

python -m leoportal.stack up [--demo [--repo PATH] [--commit REV]]   serve until Ctrl-C; PORT picks the port
python -m leoportal.stack run CMD...                                 run CMD with the addresses of the services
python -m leoportal.stack reset                                      throw the local data away
"""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for a Ctrl-C while the modules below load

from leoportal.stack.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
