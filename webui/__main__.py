"""`python -m webui`: start the server."""

import sys

if __name__ == "__main__":
    # here, not above: worker processes import this file too, and need neither API nor UI
    from webui.app import main

    sys.exit(main(sys.argv[1:]))
