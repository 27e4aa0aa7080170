"""placeholder"""

ASSET_STAGES: tuple[str, ...] = ()
