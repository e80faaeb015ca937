"""Where the demonstration keeps things, and what its objects are called."""

from pathlib import Path

from devcluster.paths import cache_root

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
RESULTS = REPOSITORY / "build" / "demo"

FAMILY = "smollm2-135m"
R1 = f"{FAMILY}-r1"
R2 = f"{FAMILY}-r2"
SERVING_NAMESPACE = "serving"
WORKLOAD = "vllm"
SERVER = "vllm"
TRAFFIC = "traffic"
NODE_PORT = 30080


def state_folder() -> Path:
    """Return the folder of the demonstration's cluster; its images outlive the cluster."""
    return cache_root() / "devcluster" / "state" / "node"
