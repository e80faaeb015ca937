"""Where the demonstration keeps things, and what its objects are called."""

from pathlib import Path

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
