"""Settings that hold for every test."""

from hypothesis import HealthCheck, settings

# A slow machine is no failure: property tests are judged by what they find, never by the clock.
settings.register_profile("relora", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relora")
