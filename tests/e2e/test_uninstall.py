"""Nothing of the operator holds on to a cluster: no finalizer, no webhook."""

import subprocess

import pytest

from devcluster.node import Node
from e2e import facts
from e2e.clusterapi import Ref
from e2e.operatorpods import NAMESPACE, RELEASE
from e2e.sidebyside import SideBySide
from e2e.world import WORKLOAD, World

pytestmark = pytest.mark.e2e

KINDS = ("adapterbindings", "adapterservers", "basemodelreleases", "trainerprofiles")


def test_uninstall_and_deletions_end_and_serving_goes_on(
    side_by_side: SideBySide, world: World, node_cluster: Node
) -> None:
    side_by_side.wait_for_all()
    stage = world.stage("leaving")
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace)
    stage.apply_binding("classifier", namespace, server=(namespace, server.name))
    stage.await_served(server, stage.r1, 1)
    before = stage.sets(namespace)

    helm = [str(node_cluster.programs["helm"]), "--kubeconfig", str(node_cluster.kubeconfig)]
    subprocess.run([*helm, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "60s"], check=True)
    for kind in KINDS:
        node_cluster.kubectl("get", f"{kind}.relora.dev")  # the chart keeps the kinds, and with them the objects
        node_cluster.kubectl("delete", f"{kind}.relora.dev", "--all", "--all-namespaces", "--timeout=60s")
    node_cluster.kubectl("delete", "crd", *(f"{kind}.relora.dev" for kind in KINDS), "--timeout=60s")

    assert stage.sets(namespace) == before
    assert facts.available(stage.api.get(Ref("Deployment", namespace, WORKLOAD)))
    assert [answer["release"] for answer in stage.served_by_pods(namespace)] == [stage.r1]
    stage.api.delete(Ref("Namespace", "", namespace))
    stage.close()
