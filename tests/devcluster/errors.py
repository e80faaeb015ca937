"""The one error that the command line shows without a traceback."""


class DevclusterError(Exception):
    """Something that the reader can mend; the message says what and how."""
