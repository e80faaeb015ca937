from realdata.docstrings import MIN_CHARACTERS, docstrings

LONG = "word " * MIN_CHARACTERS


def test_long_docstrings_of_all_kinds_are_found_and_dedented() -> None:
    source = (
        f'"""{LONG}module"""\nclass C:\n    """{LONG}class"""\n    def f(self):\n        """{LONG}\n        end"""\n'
    )
    found = sorted(text.split()[-1] for text in docstrings(source))
    assert found == ["class", "end", "module"]
    assert all("\n        " not in text for text in docstrings(source))


def test_short_docstrings_and_plain_strings_are_left_out() -> None:
    assert list(docstrings(f'def f():\n    """Short."""\n    x = "{LONG}"\n')) == []
