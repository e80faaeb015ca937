"""Custom resource definitions on a control plane, to the point where every client finds them."""

import time
from pathlib import Path

from devcluster.controlplane import ControlPlane
from devcluster.errors import DevclusterError

_SECONDS = 60.0
_INTERVAL = 0.2


def install_crds(plane: ControlPlane, folder: Path) -> None:
    """Apply the definitions in a folder and wait until they are served and discovered.

    A definition is established a moment before discovery lists it, and kubectl remembers what discovery told it: for a
    kind that it does not know it asks again, for a category it does not. `api-resources` makes it ask again.

    Raises:
        DevclusterError: Discovery does not list them within a minute.
    """
    definitions = ("-f", str(folder))
    plane.kubectl("apply", "--server-side", *definitions)
    plane.kubectl("wait", "--for=condition=Established", f"--timeout={_SECONDS:.0f}s", *definitions)
    wanted = {name.partition("/")[2] for name in plane.kubectl("get", *definitions, "-o", "name").split()}
    deadline = time.monotonic() + _SECONDS
    while missing := wanted - set(plane.kubectl("api-resources", "-o", "name").split()):
        if time.monotonic() > deadline:
            raise DevclusterError(f"the API server does not list {', '.join(sorted(missing))}")
        time.sleep(_INTERVAL)
