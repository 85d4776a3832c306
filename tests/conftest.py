"""What holds for all tests."""

from hypothesis import settings

# No example is slow by itself: a machine that is busy for a moment is no failure.
settings.register_profile("streamcrawl", deadline=None)
settings.load_profile("streamcrawl")
