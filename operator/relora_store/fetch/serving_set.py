"""Read the serving set that the operator wrote for this pod."""

from pathlib import Path

from pydantic import ValidationError

from relora_contract.names import audit_name
from relora_contract.serving import ServingSet
from relora_contract.wellknown import ANNOTATION_SERVING_SET, SERVING_SET_LIMIT_BYTES
from relora_store.errors import ConfigurationError
from relora_store.localfiles import translated


def read_serving_set(path: Path) -> ServingSet:
    """Return the serving set in a file.

    Raises:
        ConfigurationError: There is no set, it is not one, or two adapters would be served under one name.
    """
    if not path.is_file():
        raise ConfigurationError(
            f"there is no serving set at {path}: mount the pod's annotation {ANNOTATION_SERVING_SET} there "
            "with a downwardAPI volume"
        )
    with translated(path):
        data = path.read_bytes()
    if not data.strip():
        raise ConfigurationError(
            f"{path} is empty: no AdapterServer has written the annotation {ANNOTATION_SERVING_SET} to this workload"
        )
    if len(data) > SERVING_SET_LIMIT_BYTES:
        raise ConfigurationError(f"{path} has more than {SERVING_SET_LIMIT_BYTES} bytes; it is no serving set")
    try:
        serving_set = ServingSet.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(f"{path} is not a serving set: {place}: {problem['msg']}") from error
    names = [name for item in serving_set.adapters for name in (item.name, audit_name(item.name, item.digest))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"the serving set has two adapters that would be served as {twice[0]}")
    return serving_set
