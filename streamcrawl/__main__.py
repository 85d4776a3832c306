"""`python -m streamcrawl` is the command line."""

import sys

from streamcrawl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
