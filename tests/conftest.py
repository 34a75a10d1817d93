"""Hypothesis bounds no example's time: these machines are noisy, and how long something takes is measured in bench/."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
