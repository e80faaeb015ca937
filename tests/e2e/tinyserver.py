"""What serving pods of the scenarios run in place of an engine. It runs in the pod: standard library only.

It serves what relora-fetch put there: `/served` tells the release and the digest of every adapter's weights, as the
pod holds them. `/ready` is 200, but never for the release in REFUSED_RELEASE: an engine that does not get ready. A
completion, asked for by POST, is the release; asked of an adapter that is not served it is refused.
"""

import hashlib
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypedDict


class Facts(TypedDict):
    """What a pod serves."""

    release: str
    base: bool
    adapters: dict[str, str]


def served(set_file: Path, folder: Path) -> Facts:
    """Return the release and, for each adapter's name, the sha256 of its weights as they lie in the pod."""
    adapters = sorted((folder / "adapters").glob("*/adapter_model.safetensors"))
    return {
        "release": json.loads(set_file.read_text())["release"],
        "base": (folder / "base" / "config.json").exists(),
        "adapters": {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in adapters},
    }


def main(set_file: Path, folder: Path, port: int) -> None:
    """Serve until the pod ends."""
    facts = served(set_file, folder)
    ready = facts["release"] != os.environ["REFUSED_RELEASE"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if ready or self.path != "/ready" else 503)
            self.end_headers()
            self.wfile.write(json.dumps(facts).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if asked["model"] in facts["adapters"] else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"text": facts["release"]}]}).encode())

    ThreadingHTTPServer(("", port), Handler).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
