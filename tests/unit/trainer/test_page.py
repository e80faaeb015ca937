"""The page of a re-adaptation, from the request and the reports of a real one that were recorded."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from relora_contract.digests import hex_part
from relora_contract.readaptation import Strategy
from relora_contract.report import Coefficients, ModuleFit, SplitUse, Step, StepOutcome, StepReport
from relora_contract.request import ReadaptationRequest
from relora_trainer.page.document import page, picture
from relora_trainer.page.modules import module_grid

RECORDED = Path(__file__).parent / "recorded"
STEPS: tuple[Step, ...] = ("port", "fuse", "recover", "refine")
NASTY = '<script>alert("1")</script>&"\'><b>'
Reports = dict[Step, StepReport]


class Read(HTMLParser):
    """Elements, texts and attributes of a page; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "title"}:
            self.words.append(data)

    @property
    def sections(self) -> list[str | None]:
        return [attributes["id"] for tag, attributes in self.elements if tag == "section"]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def request_() -> ReadaptationRequest:
    return ReadaptationRequest.model_validate_json((RECORDED / "request.json").read_text())


@pytest.fixture(scope="module")
def reports() -> Reports:
    return {step: StepReport.model_validate_json((RECORDED / f"{step}.json").read_text()) for step in STEPS}


@pytest.fixture(scope="module")
def html(request_: ReadaptationRequest, reports: Reports) -> str:
    return page(request_, reports)


def changed(request: ReadaptationRequest, **plan: Any) -> ReadaptationRequest:  # noqa: ANN401 - fields of a plan
    item = request.items[0]
    return request.model_copy(update={"items": [item.model_copy(update={"plan": item.plan.model_copy(update=plan)})]})


def test_each_part_of_a_whole_re_adaptation_has_its_section(html: str) -> None:
    assert Read(html).sections == ["steps", "gate", "search", "training", "seconds", "modules", "facts"]


@pytest.mark.parametrize(
    ("strategy", "steps", "sections"),
    [
        (Strategy.PORTLLM, ("port",), ["steps", "gate", "seconds", "facts"]),
        (Strategy.SCRATCH, ("recover", "refine"), ["steps", "gate", "training", "seconds", "facts"]),
        (Strategy.PORTLLM_FINE_TUNE, ("port", "recover"), ["steps", "gate", "training", "seconds", "facts"]),
        (Strategy.RELORA, ("port", "fuse"), ["steps", "gate", "search", "seconds", "modules", "facts"]),
    ],
)
def test_a_strategy_shows_what_it_did_and_no_more(
    request_: ReadaptationRequest, reports: Reports, strategy: Strategy, steps: tuple[Step, ...], sections: list[str]
) -> None:
    asked = changed(request_, strategy=strategy)
    shown = {step: reports[step] for step in steps}
    read = Read(page(asked, shown))
    assert read.sections == sections
    assert f"by {strategy}" in read.text
    assert picture(asked, shown).startswith(b"\x89PNG")


def test_the_numbers_of_the_reports_are_there(html: str, reports: Reports) -> None:
    text = Read(html).text
    assert "Gate passed after" in text
    fuse, refine = reports["fuse"], reports["refine"]
    assert refine.artifact is not None
    for shown in (
        f"{float(fuse.probes[-1].loss):.4g}",
        f"{float(refine.quality[0].value):.4g}",
        refine.artifact.uri,
        hex_part(refine.artifact.digest)[:12],
        refine.versions["torch"],
        "old pair on its own base",
        "λ/2",
        "expects it",
    ):
        assert shown in text, shown


def test_steps_that_were_not_needed_are_named(request_: ReadaptationRequest, reports: Reports) -> None:
    skipped = reports["refine"].model_copy(update={"outcome": StepOutcome.SKIPPED})
    text = Read(page(request_, {**reports, "refine": skipped})).text
    assert "Not needed after the gate was passed: refine" in text


def test_other_uses_of_the_test_examples_are_shown_where_they_were_recorded(
    request_: ReadaptationRequest, reports: Reports, html: str
) -> None:
    assert "other requests" not in Read(html).text
    used = reports["port"].model_copy(update={"split_use": SplitUse(readings=31, requests=7)})
    assert "31, of 7 other requests" in Read(page(request_, {**reports, "port": used})).text


def test_coefficients_of_modules_are_shown(request_: ReadaptationRequest, reports: Reports) -> None:
    fuse = reports["fuse"]
    pairs = {name: Coefficients(alpha="0.125", beta="1.75") for name in fuse.captured_energy}
    fit = ModuleFit(coefficients=pairs, used=True, steps=3, loss="1", standard_error="0", count=9, seconds="1")
    fitted = fuse.model_copy(update={"module_fit": fit, "alpha": None, "beta": None})
    text = Read(page(request_, {**reports, "fuse": fitted})).text
    assert "α of each module" in text
    assert text.count("1.75") >= len(pairs)
    assert "one pair per module" in text


def test_the_same_reports_give_the_same_bytes(request_: ReadaptationRequest, reports: Reports, html: str) -> None:
    assert page(request_, reports) == html
    assert picture(request_, reports) == picture(request_, reports)


def test_nothing_is_loaded_and_nothing_runs(html: str) -> None:
    read = Read(html)
    tags = {tag for tag, _ in read.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "a"}
    for _, attributes in read.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"href", "xlink:href", "src"}:
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,"))
    assert "http" not in re.sub(r"http-equiv", "", html)
    assert not re.search(r"@import|url\((?!#)", html)
    policy = [attributes["content"] for tag, attributes in read.elements if attributes.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_what_tenants_write_stays_text(request_: ReadaptationRequest, reports: Reports) -> None:
    item = request_.items[0]
    task = item.task.model_copy(update={"prompt_template": f"{NASTY}{{text}}", "choices": [NASTY, "b"]})
    base = request_.target_base.model_copy(update={"release_name": NASTY})
    asked = request_.model_copy(
        update={"target_base": base, "items": [item.model_copy(update={"task": task})]},
    )
    fuse = reports["fuse"]
    energy = {f"model.layers.0.{NASTY}": "0.5", **fuse.captured_energy}
    nasty = fuse.model_copy(update={"warnings": [NASTY], "captured_energy": energy})
    html = page(asked, {**reports, "fuse": nasty})
    assert "<script" not in html
    assert "<b>" not in html
    assert Read(html).text.count(NASTY) >= 5


def test_who_cannot_see_the_figures_is_told_what_they_show(html: str) -> None:
    read = Read(html)
    labels = [attributes["aria-label"] for _, attributes in read.elements if attributes.get("role") == "img"]
    tags = Counter(tag for tag, _ in read.elements)
    assert tags["svg"] == len(labels) == tags["details"] == 5
    assert all(labels)
    assert all(attributes.get("scope") for tag, attributes in read.elements if tag == "th")
    assert ("html", {"lang": "en"}) in read.elements


def test_identifiers_are_unique_and_references_meet_one(html: str) -> None:
    read = Read(html)
    names = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', html)) <= set(names)


def test_a_page_is_small(html: str, request_: ReadaptationRequest, reports: Reports) -> None:
    assert len(html) < 600_000
    assert len(picture(request_, reports)) < 600_000
    assert all(len(report.model_dump_json()) < 100_000 for report in reports.values())


def test_modules_stand_by_block_and_layer() -> None:
    grid = module_grid({"m.layers.1.q": "0.5", "m.layers.0.q": "0.25", "m.layers.1.up": "1", "odd": "0"})
    assert grid.names == ("q", "up", "odd")
    assert grid.blocks == (0, 1)
    assert str(grid.values) == "[[0.25, 0.5], [nan, 1.0], [0.0, nan]]"
