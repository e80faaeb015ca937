"""Names that other programs see: group, labels, annotations, field managers, paths inside pods."""

GROUP = "relora.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "relora"

FIELD_MANAGER = "relora-operator"
"""Manager of our own objects, of their status, and of the two annotations on serving workloads."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "relora-operator"
LABEL_BINDING = "relora.dev/binding"
LABEL_RELEASE = "relora.dev/release"
LABEL_REQUEST = "relora.dev/request"
"""First 63 hexadecimal digits of the request digest."""
LABEL_GATES = "relora.dev/gates"
"""First 63 hexadecimal digits of the digest of the gates."""
LABEL_ATTEMPT = "relora.dev/attempt"
LABEL_JOB_KIND = "relora.dev/job-kind"
"""`delta`, `readaptation` or `report`."""
LABEL_ADAPTER_SERVER = "relora.dev/adapter-server"
"""On a workload: its owner's consent that the AdapterServer of this name may annotate its pod template."""

ANNOTATION_STEP_REQUEST = "relora.dev/step-request"
ANNOTATION_SERVING_SET = "relora.dev/serving-set"
ANNOTATION_SERVING_SET_DIGEST = "relora.dev/serving-set-digest"
ANNOTATION_RETRY = "relora.dev/retryRequestedAt"

STEP_REQUEST_LIMIT_BYTES = 64 * 1024
SERVING_SET_LIMIT_BYTES = 128 * 1024
TERMINATION_MESSAGE_LIMIT_BYTES = 1536

REQUEST_PATH = "/etc/relora/request/request.json"
CREDENTIALS_DIRECTORY = "/etc/relora/credentials"
WORK_DIRECTORY = "/work"
SERVING_SET_PATH = "/etc/relora/set/set.json"
SERVING_DIRECTORY = "/relora"

CONTRACT_VERSION = 1
DELTA_RANK = 64
"""Rank of every stored delta. Truncated SVDs nest, so adapters of a lower rank slice it."""
