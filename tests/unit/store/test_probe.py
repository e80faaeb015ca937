"""The probe, against a small server that can be told to answer wrongly."""

import ast
import json
import math
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from relora_store.fetch import probe
from relora_store.fetch.engine_config import LoadedAdapter, probe_expectations
from samples.artifacts import D1, D2, fingerprint

BASE = "/relora/base"
VOCABULARY = 60


def seeded(text: str) -> random.Random:
    return random.Random(text)  # noqa: S311 - test data, no secret


def logprobs(model: str, prompt: list[int] | str) -> list[float]:
    """Return the log-probabilities that a model of this name gives to the next token; the same every time."""
    drawn = seeded(f"{prompt}")
    logits = [drawn.gauss(0, 2) for _ in range(VOCABULARY)]
    if model != "base":
        changed = seeded(f"{model} {prompt}")
        logits = [logit + changed.gauss(0, 0.3) for logit in logits]
    total = math.log(sum(math.exp(logit) for logit in logits))
    return [logit - total for logit in logits]


@dataclass
class Fake:
    """What the server does."""

    behaves: dict[str, str] = field(default_factory=dict)
    cards: list[dict[str, Any]] = field(default_factory=list)
    noise: float = 0.07
    repeats: bool = True
    """Whether the noise of an answer is the same every time."""
    knows_token_ids: bool = True
    reply: bytes | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    def list_adapter(self, name: str, digest: str = D1, parent: str = BASE, root: str | None = None) -> None:
        path = root or f"/relora/adapters/{name}"
        for listed in (name, f"{name}--{digest[7:15]}"):
            self.cards.append({"id": listed, "root": path, "parent": parent})
            self.behaves[listed] = name

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        values = logprobs(self.behaves[body["model"]], body["prompt"])
        again = "" if self.repeats else f" {len(self.asked)}"
        noise = seeded(f"noise {body['prompt']} {self.behaves[body['model']]}{again}")
        values = [value + noise.gauss(0, self.noise) for value in values]
        tokens = sorted(range(VOCABULARY), key=lambda token: -values[token])[: body["logprobs"]]
        if self.knows_token_ids and body.get("logprob_token_ids"):
            tokens = body["logprob_token_ids"]
        return {"choices": [{"logprobs": {"top_logprobs": [{f"token_id:{token}": values[token] for token in tokens}]}}]}


@pytest.fixture
def fake() -> Iterator[Fake]:
    state = Fake(behaves={BASE: "base"}, cards=[{"id": BASE, "root": BASE, "parent": None}])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"data": state.cards})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(body)
            state.keys.append(self.headers["Authorization"])
            self.answer(state.complete(body))

        def answer(self, value: object) -> None:
            data = json.dumps(value).encode() if state.reply is None else state.reply
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield state
        server.shutdown()
        thread.join()


def adapter(name: str, *, prompts: int = 6, digest: str = D1) -> LoadedAdapter:
    prints = []
    for number in range(prompts):
        prompt = [number + 1, 7, 9]
        base, own = logprobs("base", prompt), logprobs(name, prompt)
        top = sorted(range(VOCABULARY), key=lambda token: -own[token])[:20]
        prints.append(fingerprint(prompt, {t: f"{base[t]:.6f}" for t in top}, {t: f"{own[t]:.6f}" for t in top}))
    return LoadedAdapter(name, digest, f"/relora/adapters/{name}", 8, prints)


class Probing:
    """Runs the probe and keeps what it printed."""

    def __init__(self, fake: Fake, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._fake = fake
        self._folder = folder
        self._capsys = capsys

    def __call__(self, *adapters: LoadedAdapter, arguments: tuple[str, ...] = ()) -> tuple[int, str]:
        expect = self._folder / "probe.json"
        expect.write_text(probe_expectations(BASE, adapters))
        code = probe.main(["--url", self._fake.url, "--expect", str(expect), *arguments])
        printed = self._capsys.readouterr()
        text = printed.out + printed.err
        assert text.count("\n") == 1, "one line"
        return code, text


@pytest.fixture
def probing(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Probing:
    return Probing(fake, tmp_path, capsys)


def test_a_classifier_cannot_be_asked_for_completions(fake: Fake, probing: Probing) -> None:
    fake.list_adapter("reviews")
    prints = [print_.model_copy(update={"kind": "Class"}) for print_ in adapter("reviews").fingerprints]
    code, text = probing(replace(adapter("reviews"), fingerprints=prints))
    assert code == 1
    assert "reviews is a classifier" in text
    assert "leave the probe out" in text


def test_adapters_that_answer_as_themselves_pass(fake: Fake, probing: Probing) -> None:
    fake.list_adapter("reviews")
    fake.list_adapter("mails", D2)
    code, text = probing(adapter("reviews"), adapter("mails", digest=D2))
    assert code == 0, text
    assert "adapters verified: 2 in" in text
    assert fake.asked[0]["max_tokens"] == 1
    assert len(fake.asked[0]["logprob_token_ids"]) == 20


@pytest.mark.parametrize("noise", [0, 0.07, 0.15])
def test_an_engine_that_serves_the_base_is_found_out(fake: Fake, probing: Probing, noise: float) -> None:
    fake.noise = noise
    fake.list_adapter("reviews")
    fake.behaves["reviews"] = "base"
    code, text = probing(adapter("reviews"))
    assert code == 1
    assert "reviews answers like the bare base" in text


def test_an_engine_that_serves_another_adapter_is_found_out(fake: Fake, probing: Probing) -> None:
    fake.list_adapter("reviews")
    fake.list_adapter("mails", D2)
    fake.behaves["mails"] = "reviews"
    code, text = probing(adapter("reviews"), adapter("mails", digest=D2))
    assert code == 1
    assert "mails answers" in text


def test_answers_far_from_both_are_refused_unless_tolerated(fake: Fake, probing: Probing) -> None:
    fake.noise = 0.6
    fake.list_adapter("reviews")
    assert probing(adapter("reviews"))[0] == 1
    assert probing(adapter("reviews"), arguments=("--tolerance", "5"))[0] == 0


@pytest.mark.parametrize(("behaves", "code"), [("reviews", 0), ("base", 1)])
def test_an_engine_without_token_ids_is_judged_by_its_likeliest_tokens(
    fake: Fake, probing: Probing, behaves: str, code: int
) -> None:
    fake.knows_token_ids = False
    fake.list_adapter("reviews")
    fake.behaves["reviews"] = behaves
    assert probing(adapter("reviews"))[0] == code


def test_too_few_values_prove_nothing() -> None:
    found = probe.agreement([(-1.0, -2.0, -1.0)] * 4)
    assert "5 are needed" in (found.objection(0.25) or "")
    assert probe.agreement([(-1.0, -2.0, -1.0)] * 5).objection(0.25) is None


def test_nearness_is_nought_at_the_base_and_one_at_the_adapter() -> None:
    base, own = [-1.0, -2.0, -3.0], [-1.5, -1.0, -3.2]
    assert probe.agreement(zip(base, base, own, strict=True)).nearness == pytest.approx(0)
    assert probe.agreement(zip(own, base, own, strict=True)).nearness == pytest.approx(1)
    middle = [(left + right) / 2 for left, right in zip(base, own, strict=True)]
    assert probe.agreement(zip(middle, base, own, strict=True)).nearness == pytest.approx(0.5)


def test_an_adapter_that_changes_nothing_cannot_be_told_from_the_base() -> None:
    rows = [(-1.0, -1.0, -1.0)] * 20
    assert probe.agreement(rows).objection(0.25) is None
    assert probe.agreement([(-2.0, -1.0, -1.0)] * 20).objection(0.25) is not None


def test_a_source_adapter_must_differ_from_the_base(fake: Fake, probing: Probing) -> None:
    fake.list_adapter("reviews")
    source = adapter("reviews", prompts=0)
    code, text = probing(source)
    assert code == 0
    assert "reviews differs from the base" in text
    fake.behaves["reviews"] = "base"
    code, text = probing(source)
    assert code == 1
    assert "exactly like the bare base" in text
    assert probing(source, arguments=("--allow-equal",))[0] == 0


@pytest.mark.parametrize(("behaves", "code"), [("reviews", 0), ("base", 1)])
def test_what_the_bare_base_says_twice_may_differ_a_little(
    fake: Fake, probing: Probing, behaves: str, code: int
) -> None:
    fake.noise, fake.repeats = 0.005, False
    fake.list_adapter("reviews")
    fake.behaves["reviews"] = behaves
    assert probing(adapter("reviews", prompts=0))[0] == code


def test_answers_that_are_no_numbers_are_nobodys() -> None:
    objection = probe.agreement([(math.nan, -2.0, -1.0)] * 20).objection(0.25)
    assert "no numbers" in (objection or "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fake: fake.cards.clear(), "the server's model is unknown"),
        (lambda fake: fake.cards[0].update(root="/other"), "the server's model is /other"),
        (lambda fake: fake.cards.pop(1), "reviews is not served"),
        (lambda fake: fake.cards.pop(2), "reviews--11111111 is not served"),
        (lambda fake: fake.cards[1].update(root="/elsewhere"), "served from /elsewhere"),
        (lambda fake: fake.cards[1].update(parent="other-base"), "served on other-base"),
    ],
)
def test_the_list_of_models_must_be_the_sets(
    fake: Fake, probing: Probing, change: Callable[[Fake], None], message: str
) -> None:
    fake.list_adapter("reviews")
    change(fake)
    code, text = probing(adapter("reviews"))
    assert code == 1
    assert message in text


def test_the_base_may_have_a_name_of_its_own(fake: Fake, probing: Probing) -> None:
    fake.cards[0]["id"] = "smollm2"
    fake.behaves["smollm2"] = "base"
    fake.list_adapter("reviews", parent="smollm2")
    assert probing(adapter("reviews"))[0] == 0
    assert probing(adapter("reviews", prompts=0))[0] == 0


def test_an_api_key_is_sent(fake: Fake, probing: Probing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "key")
    fake.list_adapter("reviews")
    assert probing(adapter("reviews"))[0] == 0
    assert set(fake.keys) == {"Bearer key"}


@pytest.mark.parametrize("reply", [b"", b"not json", b"[]", b"{}", b'{"data": [{}]}', b'{"data": null}'])
def test_strange_answers_are_one_line(fake: Fake, probing: Probing, reply: bytes) -> None:
    fake.reply = reply
    assert probing(adapter("reviews"))[0] == 1


def test_no_server_is_one_line(fake: Fake, probing: Probing) -> None:
    fake.url = "http://127.0.0.1:1"
    code, text = probing(adapter("reviews"))
    assert code == 1
    assert "no answer" in text


def test_no_expectations_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["--expect", str(tmp_path / "none.json")]) == 1
    assert "run relora-fetch first" in capsys.readouterr().err


def test_it_runs_as_a_plain_script_in_any_image(fake: Fake, tmp_path: Path) -> None:
    source = Path(probe.__file__).read_text()
    script = tmp_path / "probe.py"
    script.write_text(source)
    fake.list_adapter("reviews")
    (tmp_path / "probe.json").write_text(probe_expectations(BASE, [adapter("reviews")]))
    # -I and -S: no environment, no site-packages.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), "--url", fake.url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("probe.py: adapters verified: 1 in")


def test_its_source_needs_no_newer_python_and_no_package() -> None:
    tree = ast.parse(Path(probe.__file__).read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)])
    }
    assert imported <= sys.stdlib_module_names
