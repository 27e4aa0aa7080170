"""How many examples property tests try in ``make campaign``. Elsewhere it is hypothesis' own number."""

from hypothesis import settings

settings.register_profile("campaign", deadline=None, max_examples=3000)
