"""Fusion of a delta with an old adapter, against PEFT's `add_weighted_adapter("svd")` on the same two adapters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from bench.method.timing import observed, reaches, seconds
from bench.results import Row, at_most, measured
from relora_trainer.adapter import LoraSettings
from relora_trainer.dora import row_gain
from relora_trainer.factors import Factors
from relora_trainer.fusion import prepare

ALPHA, BETA = 0.3, 1.7
RANK = 16
CANDIDATES = 12
"""Of a search: what its four landmarks and a few rounds of improvement come to."""
MODULE, FUSED = "proj", "fused"
_TIMES = 300
_RELATIVE_ERROR = 1e-5


class _Base(nn.Module):
    """One linear module; nothing calls it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.proj = nn.Linear(size, size, bias=False)


def rows(sizes: Sequence[int], rounds: int) -> Iterator[Row]:
    """Yield time per size, then the errors for plain LoRA, rsLoRA and DoRA on the first size."""
    for size in sizes:
        yield from _times(size, rounds)
    for kind in ("LoRA", "rsLoRA"):
        model, old, delta = _adapters(sizes[0], use_rslora=kind == "rsLoRA")
        wanted = best_sum(old, delta)
        ours = prepare(old, delta).candidate(ALPHA, BETA)
        yield at_most(f"fusion of {kind}, relative error", _error(ours.dense(), wanted), _RELATIVE_ERROR)
        yield measured(f"add_weighted_adapter of {kind}, relative error", _error(_update_by_peft(model), wanted))
    yield at_most("fusion of DoRA, relative error of the weight", _dora_error(sizes[0]), _RELATIVE_ERROR)


def _times(size: int, rounds: int) -> Iterator[Row]:
    """Yield how many times as long PEFT takes: for a whole search, for one candidate more, and for the first one.

    PEFT takes the same SVD for every candidate. It is timed once a round, and a search's calls are as many times that.
    """
    model, old, delta = _adapters(size, use_rslora=False)
    works: tuple[Callable[[], object], ...] = (
        partial(_fuse_by_peft, model),
        partial(_search, old, delta, CANDIDATES),
        partial(prepare(old, delta).candidate, ALPHA, BETA),
        partial(_search, old, delta, 1),
    )
    for work in works:
        work()
    found = [[seconds(work) for work in works] for _ in range(rounds)]
    name = f"fusion, {size}×{size}, add_weighted_adapter ÷ ours"
    searches = [CANDIDATES * peft / search for peft, search, _, _ in found]
    yield reaches(f"{name}, a search of {CANDIDATES} candidates", searches, _TIMES)
    yield observed(f"{name}, one candidate more", [peft / candidate for peft, _, candidate, _ in found], "×")
    yield observed(f"{name}, the first candidate", [peft / first for peft, _, _, first in found], "×")


def best_sum(old: Factors, delta: Factors) -> Tensor:
    """Return the best rank-r approximation of α·ΔΘ + β·ΔΘ_i by a dense SVD in float64."""
    total = ALPHA * delta.to(torch.float64).dense() + BETA * old.to(torch.float64).dense()
    u, s, v_t = torch.linalg.svd(total, full_matrices=False)
    best: Tensor = (u[:, :RANK] * s[:RANK]) @ v_t[:RANK]
    return best


def _adapters(size: int, *, use_rslora: bool) -> tuple[PeftModel, Factors, Factors]:
    """Return a PEFT model with the adapters "old" and "delta", and both as the trainer reads them."""
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=[MODULE], use_rslora=use_rslora)
    model = get_peft_model(_Base(size), config, adapter_name="old")
    assert isinstance(model, PeftModel)
    model.add_adapter("delta", config)
    settings = LoraSettings(r=RANK, lora_alpha=2 * RANK, target_modules=[MODULE], use_rslora=use_rslora)
    layer = model.get_submodule(f"base_model.model.{MODULE}")
    found = []
    for name in ("old", "delta"):
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        with torch.no_grad():
            b.normal_(std=size**-0.5)
        found.append(Factors(a.detach(), b.detach() * settings.scaling(MODULE)))
    old, delta = found
    return model, old, delta


def _search(old: Factors, delta: Factors, candidates: int) -> None:
    """Factorise once and make so many candidates, as a search does; what (α, β) they have is no matter of time."""
    fusion = prepare(old, delta)
    for _ in range(candidates):
        fusion.candidate(ALPHA, BETA)


def _fuse_by_peft(model: PeftModel) -> None:
    """Let PEFT make the adapter α·delta + β·old, and take it away again."""
    _add_by_peft(model)
    model.delete_adapter(FUSED)


def _update_by_peft(model: PeftModel) -> Tensor:
    """Return the dense update that PEFT makes of α·delta + β·old."""
    _add_by_peft(model)
    update: Tensor = model.get_submodule(f"base_model.model.{MODULE}").get_delta_weight(FUSED).detach()
    model.delete_adapter(FUSED)
    return update


def _add_by_peft(model: PeftModel) -> None:
    model.add_weighted_adapter(["delta", "old"], [ALPHA, BETA], FUSED, combination_type="svd", svd_rank=RANK)


def _dora_error(size: int) -> float:
    """Return the error of DoRA's weight on the new base, its rows with the gain that the old one learned."""
    _, old, delta = _adapters(size, use_rslora=False)
    generator = torch.Generator().manual_seed(1)
    old_weight = torch.randn(size, size, generator=generator) * size**-0.5
    new_weight = old_weight + 0.1 * torch.randn(size, size, generator=generator) * size**-0.5
    magnitude = old_weight.norm(dim=1) * (1 + 0.1 * torch.rand(size, generator=generator))
    gain = magnitude.double() / (old_weight.double() + old.to(torch.float64).dense()).norm(dim=1)
    wanted = gain[:, None] * (new_weight.double() + best_sum(old, delta))
    fusion = prepare(replace(old, magnitude=magnitude), delta, (old_weight, new_weight))
    fused = fusion.candidate(ALPHA, BETA)
    assert fused.magnitude is not None
    return _error(row_gain(fused.magnitude, new_weight, fused)[:, None] * (new_weight + fused.dense()), wanted)


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())
