"""What a long transfer tells about itself."""

from typing import Protocol


class Progress(Protocol):
    """Told by several threads at once."""

    def begin(self, files: int, size: int, /) -> None:
        """Say how many files and bytes there are in all."""

    def advance(self, size: int) -> None:
        """Say that so many bytes more were read."""

    def done(self, name: str, size: int, seconds: float, how: str) -> None:
        """Say that a file is complete: `downloaded`, from the `cache`, or `kept` from before."""


class Silent:
    """Tells nobody."""

    def begin(self, files: int, size: int, /) -> None:
        """Say nothing."""

    def advance(self, size: int) -> None:
        """Say nothing."""

    def done(self, name: str, size: int, seconds: float, how: str) -> None:
        """Say nothing."""
