"""Configuration files of the node's programs. Pure: layout in, text out."""

import json
from typing import Any

from devcluster.components import CLUSTER_DOMAIN
from devcluster.nodelayout import (
    CNI_PROGRAMS,
    CONTAINERD_SOCKET,
    DNS_READY_PORT,
    NODE_IP,
    NODE_NAME,
    POD_RANGE,
    REGISTRY_NAME,
    REGISTRY_PORT,
    S3_PORT,
    SYSTEM_NAMESPACE,
    NodeLayout,
)


def config_files(layout: NodeLayout, containerd_major: int) -> dict[str, str]:
    """Return all configuration files by their path below the layout's ``config`` folder."""
    return {
        "containerd.toml": containerd(layout) if containerd_major == 1 else containerd_2(layout),
        "cni/10-relora.conflist": json.dumps(cni(), indent=1),
        f"registries/{REGISTRY_NAME}/hosts.toml": registry_hosts(),
        "registry.yaml": json.dumps(registry(layout), indent=1),
        "kubelet.yaml": json.dumps(kubelet(layout), indent=1),
        "kube-proxy.yaml": json.dumps(kube_proxy(layout), indent=1),
        "Corefile": corefile(layout),
        "resolv.conf": f"nameserver {NODE_IP}\n",
        "addons.json": json.dumps(addons(), indent=1),
    }


def containerd(layout: NodeLayout) -> str:
    """Return the configuration of containerd 1.6 and 1.7.

    Layers are dropped once they are unpacked: the registry keeps them anyway. Scores for the out-of-memory killer are
    only lowered as far as this machine allows.
    """
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{layout.images}/containerd"
state = "/run/relora/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[{cri}]
  restrict_oom_score_adj = true
  sandbox_image = "{layout.pause_image}"
  max_concurrent_downloads = 4
[{cri}.containerd]
  discard_unpacked_layers = true
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.cni]
  bin_dir = "{CNI_PROGRAMS}"
  conf_dir = "{layout.config}/cni"
[{cri}.registry]
  config_path = "{layout.config}/registries"
"""


def containerd_2(layout: NodeLayout) -> str:
    """Return the same for containerd 2, which names its plugins otherwise."""
    images, runtime = "plugins.'io.containerd.cri.v1.images'", "plugins.'io.containerd.cri.v1.runtime'"
    return f"""\
version = 3
root = "{layout.images}/containerd"
state = "/run/relora/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[{images}]
  discard_unpacked_layers = true
[{images}.pinned_images]
  sandbox = "{layout.pause_image}"
[{images}.registry]
  config_path = "{layout.config}/registries"
[{runtime}]
  restrict_oom_score_adj = true
[{runtime}.cni]
  bin_dirs = ["{CNI_PROGRAMS}"]
  conf_dir = "{layout.config}/cni"
[{runtime}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.internal.v1.opt']
  path = "/run/relora/opt"
"""


def cni() -> dict[str, Any]:
    """Return the pod network: a point-to-point link per pod.

    A bridge would need br_netfilter, which not every kernel has. Leases are kept in /run and so die with the node.
    """
    addresses = {
        "type": "host-local",
        "dataDir": "/run/relora/cni",
        "subnet": POD_RANGE,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "relora",
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}],
    }


def registry_hosts() -> str:
    """Return where containerd finds the registry that images name by a host that exists nowhere."""
    address = f"http://127.0.0.1:{REGISTRY_PORT}"
    return f'server = "{address}"\n[host."{address}"]\n  capabilities = ["pull", "resolve"]\n'


def registry(layout: NodeLayout) -> dict[str, Any]:
    """Return the registry's configuration."""
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "filesystem": {"rootdirectory": f"{layout.images}/registry"},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": f"127.0.0.1:{REGISTRY_PORT}"},
    }


def kubelet(layout: NodeLayout) -> dict[str, Any]:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{layout.pki}/kubelet-serving.crt",
        "tlsPrivateKeyFile": f"{layout.pki}/kubelet-serving.key",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        # A root of its own: beside another kubelet it would take that one's pods for orphans.
        "cgroupRoot": f"/{layout.cgroup}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": ["pods"],
        "makeIPTablesUtilChains": False,
        "clusterDNS": [NODE_IP],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": f"{layout.config}/resolv.conf",
        "serializeImagePulls": False,
        "maxParallelImagePulls": 2,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        # Nobody could pull the pause image again, so images are never collected.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "shutdownGracePeriod": "0s",
        "maxPods": 200,
    }


def kube_proxy(layout: NodeLayout) -> dict[str, Any]:
    """Return kube-proxy's configuration.

    Rules are written at most ten times a second, so that a Service answers as soon as its pod is ready. The limits of
    connection tracking belong to the host and cannot be set from here.
    """
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{layout.pki}/kube-proxy.kubeconfig"},
        "mode": "nftables",
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "clusterCIDR": POD_RANGE,
        "bindAddress": NODE_IP,
        "hostnameOverride": NODE_NAME,
        "healthzBindAddress": f"{NODE_IP}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def corefile(layout: NodeLayout) -> str:
    """Return CoreDNS' configuration: cluster names only, so that any other name fails at once."""
    return f"""\
.:53 {{
  bind {NODE_IP}
  errors
  ready 127.0.0.1:{DNS_READY_PORT}
  kubernetes {CLUSTER_DOMAIN} {{
    kubeconfig {layout.pki}/coredns.kubeconfig
  }}
  cache 5
  loadbalance
}}
"""


def addons() -> dict[str, Any]:
    """Return the cluster's own objects: what CoreDNS may read, and the Service of the S3 gateway."""
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "relora-devcluster:coredns"}
    rbac, name = "rbac.authorization.k8s.io/v1", "relora-devcluster-coredns"
    s3 = {"name": "s3", "namespace": SYSTEM_NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": rbac,
                "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": [
                    {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
                    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
                ],
            },
            {
                "apiVersion": rbac,
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": [subject],
            },
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}},
            {"apiVersion": "v1", "kind": "Service", "metadata": s3, "spec": {"ports": [{"name": "http", "port": 80}]}},
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**s3, "labels": {"kubernetes.io/service-name": "s3"}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": S3_PORT, "protocol": "TCP"}],
                "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
            },
        ],
    }
