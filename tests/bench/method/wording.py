"""Words in the names of rows."""


def counted(number: int, noun: str) -> str:
    """Return a number of things, as in "1 seed" or "2 searches"."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number} {noun}{ending}"
