"""What holds for all tests."""

import signal

from hypothesis import settings

# No example is slow by itself: a machine that is busy for a moment is no failure.
settings.register_profile("streamcrawl", deadline=None)
settings.load_profile("streamcrawl")

# A shell has its background jobs pass over Ctrl-C, and the commands that the tests begin would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
