"""Prove that a serving engine has really loaded the adapters of its serving set.

Engines serve the bare base without a word when an adapter's keys do not match the model's. So this asks the engine for
next-token log-probabilities of every adapter and compares them with the adapter's fingerprint, which the trainer
measured with the adapter and without it.

This file needs Python 3.9 and nothing else: `relora-fetch` puts it beside the weights, and the serving container runs
it, whatever image that is. `probe.json`, which says what to ask and to expect, lies beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PARALLEL = 8
MOST_LOGPROBS = 20
"""What engines return at most when they cannot be asked for certain tokens."""
LEAST_VALUES = 5
NEARER_TO_ADAPTER = 0.5
LEAST_SEPARATION = 0.01
"""Nats, root mean square. Below it adapter and base cannot be told apart, and the adapter is held to be loaded."""
ENGINE_NOISE = 0.25
"""Nats, root mean square. Engines that compute in bfloat16 were seen at 0.06 to 0.08 from a float32 reference."""
EQUAL = 1e-3
"""Nats. Two answers of one engine that differ by less are the same answer."""
BEYOND_NOISE = 4.0
"""Times what two answers of the bare base differ by, as when they are computed in other batches. That of an adapter
differs by more."""
GENERIC_PROMPTS = (
    "The river froze early that winter, and",
    "A short review of the new restaurant:",
    "def main():",
    "1, 2, 3,",
)
DESCRIPTION = """\
Exits with 0 when every adapter of the serving set is listed and answers as itself, and with 1 otherwise. Made for a
startupProbe: exec: {command: [python3, /relora/probe.py, --url, "http://127.0.0.1:8000"]}, with timeoutSeconds of at
least 60, as the first answer of an engine is slow. A server with an API key gives it in VLLM_API_KEY."""


class ProbeError(Exception):
    """The server is not ready, or does not serve what it should."""


@dataclass(frozen=True)
class Agreement:
    """How an engine's answers lie between the base's and the adapter's.

    Attributes:
        nearness: Σ(observed − base)(adapter − base) / Σ(adapter − base)²: 0 answers as the base, 1 as the adapter.
        distance: Root mean square of observed − adapter, in nats.
        separation: Root mean square of adapter − base, in nats.
        count: Log-probabilities compared.
    """

    nearness: float
    distance: float
    separation: float
    count: int

    def objection(self, tolerance: float) -> str | None:
        """Return why these answers are not the adapter's, or None when they are."""
        if not math.isfinite(self.distance):
            return "the server returned log-probabilities that are no numbers"
        if self.count < LEAST_VALUES:
            return f"the server returned {self.count} of the log-probabilities asked for; {LEAST_VALUES} are needed"
        if self.separation >= LEAST_SEPARATION and self.nearness < NEARER_TO_ADAPTER:
            return f"answers like the bare base (nearness {self.nearness:.2f}; 1 is the adapter, 0 the base)"
        if self.distance > max(tolerance, NEARER_TO_ADAPTER * self.separation):
            return f"answers neither like the adapter nor like the base ({self.distance:.2f} nats off)"
        return None


def agreement(values: Iterable[tuple[float, float, float]]) -> Agreement:
    """Compare triples of log-probabilities: observed, the base's, the adapter's."""
    rows = list(values)
    along = sum((observed - base) * (adapter - base) for observed, base, adapter in rows)
    apart = sum((adapter - base) ** 2 for _, base, adapter in rows)
    off = sum((observed - adapter) ** 2 for observed, _, adapter in rows)
    count = max(len(rows), 1)
    return Agreement(
        nearness=along / apart if apart else 1.0,
        distance=math.sqrt(off / count),
        separation=math.sqrt(apart / count),
        count=len(rows),
    )


class Server:
    """An OpenAI-compatible server."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._headers = {"Content-Type": "application/json"}
        if os.environ.get("VLLM_API_KEY"):
            self._headers["Authorization"] = "Bearer " + os.environ["VLLM_API_KEY"]
        # A proxy has no business between a container and its own port.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def models(self) -> dict[str, dict[str, Any]]:
        """Return the served models by their names."""
        return {card["id"]: card for card in self._call("/v1/models")["data"]}

    def next_token(self, model: str, prompt: Sequence[int] | str, tokens: Sequence[int] = ()) -> dict[str, float]:
        """Return log-probabilities of the next token by `token_id:<id>`: of `tokens`, or else of the likeliest."""
        body: dict[str, Any] = {
            "model": model,
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": MOST_LOGPROBS,
            "return_tokens_as_token_ids": True,
        }
        if tokens:
            body["logprob_token_ids"] = list(tokens)
        reply = self._call("/v1/completions", body)
        found: dict[str, float] = reply["choices"][0]["logprobs"]["top_logprobs"][0]
        return found

    def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers)  # noqa: S310 - the URL is our user's
        try:
            with self._opener.open(request, timeout=self._timeout) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            text = error.read(300).decode(errors="replace").replace("\n", " ")
            raise ProbeError(f"{path} answers {error.code}: {text}") from error
        except (OSError, ValueError) as error:
            raise ProbeError(f"no answer from {self._url}{path} yet ({error})") from error


def check_models(expected: Mapping[str, Any], cards: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name under which the bare base is served, after the list of models was found to be right.

    Raises:
        ProbeError: The base or an adapter is missing, or lies elsewhere, or belongs to another base.
    """
    base_path = expected["base"]
    bases = [name for name, card in cards.items() if card.get("root") == base_path and not card.get("parent")]
    if not bases:
        roots = sorted({str(card.get("root")) for card in cards.values() if not card.get("parent")})
        raise ProbeError(f"the server's model is {', '.join(roots) or 'unknown'}, the set's is {base_path}")
    for adapter in expected["adapters"]:
        for name in (adapter["name"], adapter["auditName"]):
            card = cards.get(name)
            if card is None:
                raise ProbeError(f"{name} is not served; start the server with --config vllm.yaml")
            if card.get("root") != adapter["path"]:
                raise ProbeError(f"{name} is served from {card.get('root')}, the set's lies at {adapter['path']}")
            if card.get("parent") not in {None, base_path, *bases}:
                raise ProbeError(f"{name} is served on {card.get('parent')}, not on {bases[0]}")
    return bases[0]


def check_adapter(server: Server, adapter: Mapping[str, Any], base: str, tolerance: float, *, allow_equal: bool) -> str:
    """Return a few words about an adapter that answers as itself.

    Raises:
        ProbeError: It does not.
    """
    name = adapter["name"]
    if not adapter["fingerprints"]:
        return _check_difference(server, name, base, allow_equal=allow_equal)
    if any(fingerprint.get("kind") == "Class" for fingerprint in adapter["fingerprints"]):
        raise ProbeError(
            f"{name} is a classifier: this asks for completions, which do not show whether it is loaded; leave the "
            "probe out, and compare the server's class log-probabilities with the fingerprints yourself"
        )
    rows: list[tuple[float, float, float]] = []
    for fingerprint in adapter["fingerprints"]:
        with_base = {item["token"]: float(item["logprob"]) for item in fingerprint["base"]}
        with_adapter = {item["token"]: float(item["logprob"]) for item in fingerprint["adapter"]}
        tokens = [token for token in with_adapter if token in with_base]
        observed = server.next_token(name, fingerprint["prompt"], tokens)
        rows += [
            (observed[f"token_id:{token}"], with_base[token], with_adapter[token])
            for token in tokens
            if f"token_id:{token}" in observed
        ]
    found = agreement(rows)
    objection = found.objection(tolerance)
    if objection:
        raise ProbeError(f"{name} {objection}")
    return f"{name} nearness {found.nearness:.2f}, {found.distance:.2f} nats off"


def _check_difference(server: Server, name: str, base: str, *, allow_equal: bool) -> str:
    if allow_equal:
        return f"{name} listed"
    for prompt in GENERIC_PROMPTS:
        with_adapter = server.next_token(name, prompt)
        bare, again = server.next_token(base, prompt), server.next_token(base, prompt)
        if _apart(with_adapter, bare) > max(EQUAL, BEYOND_NOISE * _apart(bare, again)):
            return f"{name} differs from the base"
    raise ProbeError(
        f"{name} answers exactly like the bare base: the engine ignores the adapter "
        "(--allow-equal if it really changes nothing)"
    )


def _apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the most by which two answers differ, in nats, on the tokens that both have; the last ranks may change."""
    return max((abs(one[token] - other[token]) for token in one.keys() & other.keys()), default=math.inf)


def probe(server: Server, expected: Mapping[str, Any], tolerance: float, *, allow_equal: bool) -> list[str]:
    """Check everything, several adapters at a time, and return a few words about each.

    Raises:
        ProbeError: The first thing that is not as it should be.
    """
    base = check_models(expected, server.models())
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(
            pool.map(
                lambda adapter: check_adapter(server, adapter, base, tolerance, allow_equal=allow_equal),
                expected["adapters"],
            )
        )


def main(arguments: Sequence[str] | None = None, *, program: str = "probe.py", expect: Path | None = None) -> int:
    """Run the command line and return the exit code."""
    beside = Path(__file__).with_suffix(".json")
    parser = argparse.ArgumentParser(program, description=DESCRIPTION)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (default: %(default)s)")
    parser.add_argument("--expect", type=Path, default=expect or beside, help="what to expect (default: %(default)s)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=ENGINE_NOISE,
        help="root mean square in nats that an engine's arithmetic may be off (default: %(default)s)",
    )
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one request (default: %(default)s)")
    parser.add_argument(
        "--allow-equal",
        action="store_true",
        help="accept an adapter without fingerprint that answers like the base",
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        expected = json.loads(options.expect.read_text())
        told = probe(Server(options.url, options.timeout), expected, options.tolerance, allow_equal=options.allow_equal)
    except OSError as error:
        sys.stderr.write(f"{program}: {options.expect} cannot be read ({error.strerror}); run relora-fetch first\n")
        return 1
    except ProbeError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 1
    except (KeyError, IndexError, TypeError, ValueError) as error:
        sys.stderr.write(f"{program}: the answer of the server has another form than expected ({error!r})\n")
        return 1
    seconds = time.monotonic() - started
    sys.stdout.write(f"{program}: adapters verified: {len(told)} in {seconds:.1f} s; {'; '.join(told)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
