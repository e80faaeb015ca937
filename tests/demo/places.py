"""Where the demonstration keeps things, and what its objects are called."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
FIRST_EXAMPLES = (
    "1-namespaces",
    "2-profile",
    "3-release-r1",
    "4-workload",
    "5-server",
    "6-binding-sentiment",
    "7-binding-author",
)
"""What is applied before the new release, in this order."""
NEW_RELEASE = "8-release-r2"
RESULTS = REPOSITORY / "build" / "demo"

FAMILY = "smollm2-135m"
R1 = f"{FAMILY}-r1"
R2 = f"{FAMILY}-r2"
SERVING_NAMESPACE = "serving"
WORKLOAD = "vllm"
SERVER = "vllm"
TRAFFIC = "traffic"
NODE_PORT = 30080
