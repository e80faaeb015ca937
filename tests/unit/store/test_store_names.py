"""A corpus of hostile and of ordinary file names."""

import pytest

from relora_store.errors import IntegrityError
from relora_store.names import Content, check_names

HOSTILE = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../x.json",
    "a/../x.json",
    "a/..",
    "a/./x.json",
    "a//x.json",
    "a/x.json/",
    "..\\x.json",
    "a\\b.json",
    "C:\\x.json",
    "x.json\0",
    "\0",
    "x\n.json",
    "x .json",
    ".hidden.json",
    "a/.git/config.json",
    ".cache/x.json",
    ".verified",
    "~/x.json",
    "-rf.json",
    "$(id).json",
    "x;id.json",
    "\u202enosj.py",
    "a\uff0f..\uff0fx.json",
    "\uff58.json",
    "\u00e9.json",
    "\u200bx.json",
    "x" * 300 + ".json",
    "/".join(["a"] * 9) + ".json",
]
FORBIDDEN = {
    "adapter_model.bin": "pickled",
    "pytorch_model.bin": "pickled",
    "optimizer.pt": "pickled",
    "x.PTH": "pickled",
    "x.pkl": "pickled",
    "x.ckpt": "pickled",
    "arrays.npy": "pickled",
    "modeling.py": "code",
    "a/b/setup.PY": "code",
    "native.so": "code",
    "weights.zip": "archive",
    "x.tar.gz": "archive",
    "model.gguf": "of a kind",
    "model.h5": "of a kind",
    "Makefile": "of a kind",
    "safetensors": "of a kind",
    "x.safetensors.sig": "of a kind",
}
ORDINARY = [
    "config.json",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.model",
    "merges.txt",
    "README.md",
    "LICENSE",
    "chat_template.jinja",
    "templates/tool=use@2/chat.jinja",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("content", list(Content))
def test_hostile_names_are_refused(name: str, content: Content) -> None:
    with pytest.raises(IntegrityError) as caught:
        check_names([name], content)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(("name", "why"), FORBIDDEN.items())
@pytest.mark.parametrize("content", list(Content))
def test_forbidden_kinds_are_refused_with_the_reason(name: str, why: str, content: Content) -> None:
    with pytest.raises(IntegrityError, match=why):
        check_names([name, "config.json"], content)


def test_ordinary_names_are_allowed() -> None:
    for content in (Content.ADAPTER, Content.BASE, Content.STATE):
        check_names(ORDINARY, content)
    check_names(["train.jsonl"], Content.DATA)
    check_names(["test.parquet"], Content.DATA)


def test_weights_are_no_data() -> None:
    with pytest.raises(IntegrityError, match="of a kind"):
        check_names(["model.safetensors"], Content.DATA)


def test_a_file_is_not_a_folder_too() -> None:
    with pytest.raises(IntegrityError, match="both a file and a folder"):
        check_names(["a.json", "a.json/b.json"], Content.BASE)


def test_an_artifact_has_files_but_not_without_end() -> None:
    with pytest.raises(IntegrityError, match="no files"):
        check_names([], Content.BASE)
    with pytest.raises(IntegrityError, match="10001 files"):
        check_names([f"{number}.json" for number in range(10_001)], Content.BASE)
