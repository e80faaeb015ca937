import numpy as np
import pytest

from realdata.smollm2 import interleaved_to_half_split, transformers_name


@pytest.mark.parametrize(
    ("gguf", "expected"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"),
        ("blk.29.ffn_down.weight", "model.layers.29.mlp.down_proj.weight"),
    ],
)
def test_names_become_those_of_transformers(gguf: str, expected: str) -> None:
    assert transformers_name(gguf) == expected


def test_unknown_weight_is_refused() -> None:
    with pytest.raises(KeyError, match=r"rope_freqs\.weight"):
        transformers_name("rope_freqs.weight")


def test_rows_that_rotate_together_move_half_a_head_apart() -> None:
    # Two heads of four rows; in GGUF rows 0 and 1 rotate together, then 2 and 3.
    interleaved = np.arange(8).reshape(8, 1)
    assert interleaved_to_half_split(interleaved, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
