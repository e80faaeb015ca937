"""What is deleted leaves nothing behind."""

import pytest

from e2e.clusterapi import Ref
from e2e.world import Stage

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("deletion")
def test_binding_deleted_mid_job_leaves_nothing(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    binding = stage.apply_binding("classifier", namespace)
    stage.await_condition(binding, "Ready", "True")
    release = stage.apply_second_release()
    stage.await_container(namespace, "readaptation", "port", "running")

    stage.api.delete(binding)

    stage.wait("binding, Jobs and pods to be gone", lambda: _nothing_left(stage, namespace), seconds=60)
    done = stage.wait("no binding to count", lambda: _uncounted(stage, release))
    assert done
    assert len(stage.jobs_ever(namespace, "readaptation")) == 1
    assert not stage.jobs_ever(namespace, "report")


def _nothing_left(stage: Stage, namespace: str) -> bool | None:
    chronicle = stage.world.chronicle
    left = [each for kind in ("AdapterBinding", "Job", "Pod") for each in chronicle.alive(kind, namespace)]
    return not left or None


def _uncounted(stage: Stage, release: Ref) -> bool | None:
    counts = stage.current(release)["status"].get("bindings") or {}
    return counts.get("eligible", 0) == 0 or None
