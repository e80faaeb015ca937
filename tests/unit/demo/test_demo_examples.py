import pytest

from demo.places import EXAMPLES, FIRST_EXAMPLES, NEW_RELEASE


@pytest.mark.parametrize("name", [*FIRST_EXAMPLES, NEW_RELEASE])
def test_what_the_demonstration_applies_is_there(name: str) -> None:
    assert (EXAMPLES / f"{name}.yaml").is_file()
