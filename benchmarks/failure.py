"""Why there is no figure."""


class Unmeasured(Exception):
    """Something could not be measured here; the message is the reason that the table gives."""
