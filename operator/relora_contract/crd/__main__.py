"""Write or check the files that are generated from the API models: `python -m relora_contract.crd --write`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic.types import JsonValue
from typing_extensions import override

from relora_contract.api.meta import ApiObject
from relora_contract.crd.definition import KINDS, definition
from relora_contract.crd.reference import reference_page
from relora_contract.wellknown import GROUP

_HEADER = "# Generated from operator/relora_contract/api by `make generate`; do not edit.\n"
_KEEP = """\
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


class _PlainDumper(yaml.SafeDumper):
    """Writes shared parts of the schema out, without anchors."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        return True


def generated_files() -> dict[str, str]:
    """Return the text of every generated file by its path below the repository's root."""
    files = {"docs/crds.md": reference_page()}
    for kind in KINDS:
        name = f"{GROUP}_{kind.resource.plural}.yaml"
        files[f"crds/{name}"] = _HEADER + _yaml(definition(kind))
        files[f"charts/relora-operator/templates/crds/{name}"] = _chart_template(kind)
    return files


def _chart_template(kind: type[ApiObject]) -> str:
    document = definition(kind)
    head = {key: value for key, value in document.items() if key != "spec"}
    spec: dict[str, JsonValue] = {"spec": document["spec"]}
    body = _escaped(_yaml(head)) + _KEEP + _escaped(_yaml(spec))
    return f"{_HEADER}{{{{- if .Values.crds.enabled }}}}\n{body}{{{{- end }}}}\n"


def _escaped(text: str) -> str:
    """Keep Helm from reading braces of descriptions as template actions."""
    return "".join({"{{": '{{ "{{" }}', "}}": '{{ "}}" }}'}.get(part, part) for part in _split_braces(text))


def _split_braces(text: str) -> list[str]:
    return text.replace("{{", "\0{{\0").replace("}}", "\0}}\0").split("\0")


def _yaml(document: dict[str, JsonValue]) -> str:
    return yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=120)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated files, or report those that differ. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m relora_contract.crd", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the files that differ")
    action.add_argument("--check", action="store_true", help="exit 1 and name the files that differ")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the repository (default: here)")
    options = parser.parse_args(arguments)
    if not (options.root / "pyproject.toml").is_file():
        parser.error(f"{options.root.resolve()} is not the root of the repository; give it with --root")
    stale = {path: text for path, text in generated_files().items() if _current(options.root / path) != text}
    for path, text in stale.items():
        if options.write:
            (options.root / path).parent.mkdir(parents=True, exist_ok=True)
            (options.root / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{'wrote' if options.write else 'differs'}: {path}\n")
    if stale and options.check:
        sys.stdout.write("run `make generate`\n")
        return 1
    return 0


def _current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
