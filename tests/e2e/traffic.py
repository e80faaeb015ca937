"""Asks the served adapters, all the time: one JSON line a request. Standard library only: it runs in a pod.

Every request opens a connection of its own, so that it meets whichever pod the Service chooses.
"""

import json
import os
import sys
import time
import urllib.request

PAUSE_SECONDS = 0.25
TIMEOUT_SECONDS = 60.0


def ask(url: str, model: str, prompt: str) -> str:
    """Return the completion of a prompt."""
    body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 3, "temperature": 0}).encode()
    request = urllib.request.Request(  # noqa: S310 - the Service's address
        f"{url}/v1/completions", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310
        answer = json.load(reply)
    return str(answer["choices"][0]["text"]).strip()


def main() -> None:
    """Ask each model in turn, until killed."""
    url, prompts = os.environ["TRAFFIC_URL"], json.loads(os.environ["TRAFFIC_PROMPTS"])
    while True:
        for model, prompt in prompts.items():
            start = time.time()
            record = {"time": round(start, 3), "model": model, "ok": True}
            try:
                record["answer"] = ask(url, model, prompt)
            except (OSError, ValueError, KeyError) as error:
                record |= {"ok": False, "error": f"{type(error).__name__}: {error}"}
            record["seconds"] = round(time.time() - start, 3)
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
