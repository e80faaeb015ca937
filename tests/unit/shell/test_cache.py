from functools import partial

import pytest

from relora_contract.api.profile import TrainerProfile
from relora_contract.wellknown import API_VERSION
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import UnreadableError, parse_own
from relora_operator.kube.resources import PROFILES
from relora_operator.loop.cache import Cache

SPEC: JsonObject = {
    "image": "registry/trainer@sha256:" + "a" * 64,
    "store": {"uri": "s3://adapters/{namespace}", "deltaUri": "s3://models/deltas", "secretName": "store"},
}


def profile(version: int, *, name: str = "default", uid: str = "u1", spec: JsonObject = SPEC) -> JsonObject:
    metadata: JsonObject = {"name": name, "uid": uid, "resourceVersion": str(version)}
    return {"apiVersion": API_VERSION, "kind": "TrainerProfile", "metadata": metadata, "spec": spec}


@pytest.fixture
def cache() -> Cache[TrainerProfile]:
    return Cache(
        PROFILES, partial(parse_own, TrainerProfile), {"secret": lambda found: (found.spec.store.secret_name,)}
    )


def version_in(cache: Cache[TrainerProfile]) -> str | None:
    found = cache.get("", "default")
    return found.metadata.resource_version if found else None


def test_a_new_object_is_found_by_name_and_by_index(cache: Cache[TrainerProfile]) -> None:
    change = cache.observe(profile(5))

    assert change is not None
    assert (change.old, change.new) == (None, cache.get("", "default"))
    assert [found.metadata.name for found in cache.find("secret", "store")] == ["default"]


@pytest.mark.parametrize("version", [4, 5])
def test_what_is_not_newer_is_no_news(cache: Cache[TrainerProfile], version: int) -> None:
    cache.observe(profile(5))

    assert cache.observe(profile(version)) is None
    assert version_in(cache) == "5"


def test_an_event_that_is_older_than_our_own_write_does_not_undo_it(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(5))
    cache.observe(profile(9))

    assert cache.observe(profile(7)) is None
    assert version_in(cache) == "9"


def test_a_list_that_is_behind_the_watch_asks_for_nothing(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(9))

    assert cache.knows("", "default", "u1", 7)
    assert not cache.knows("", "default", "u1", 10)
    assert not cache.knows("", "default", "another", 7)


def test_an_index_follows_the_object(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(5))
    store: JsonObject = {"uri": "s3://a-b/{namespace}", "deltaUri": "s3://models/d", "secretName": "other"}

    cache.observe(profile(6, spec={**SPEC, "store": store}))

    assert cache.find("secret", "store") == ()
    assert len(cache.find("secret", "other")) == 1


def test_a_deleted_object_does_not_come_back_by_a_late_event(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(5))

    change = cache.forget("", "default", "u1", 8)

    assert change is not None
    assert change.new is None
    assert cache.observe(profile(7)) is None
    assert cache.find("secret", "store") == ()


def test_an_object_that_left_the_selector_and_came_back_is_known_again(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(5))
    cache.forget("", "default", "u1", 8)

    assert cache.observe(profile(9)) is not None


def test_a_late_deletion_does_not_remove_the_successor(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(5, uid="old"))
    cache.observe(profile(9, uid="new"))

    assert cache.forget("", "default", "old", 8) is None
    assert cache.uid("", "default") == "new"


def test_the_predecessor_does_not_replace_its_successor(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(9, uid="new"))

    assert cache.observe(profile(7, uid="old")) is None
    assert cache.uid("", "default") == "new"


def test_a_ghost_is_what_a_later_list_no_longer_has(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(5, name="gone", uid="u1"))
    cache.observe(profile(6, name="there", uid="u2"))
    cache.observe(profile(20, name="newer-than-the-list", uid="u3"))

    assert cache.ghosts([("", "there")], 10) == [(("", "gone"), "u1")]


def test_an_unreadable_object_is_set_aside_and_others_stay(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(5, name="good", uid="u2"))
    cache.observe(profile(5))

    change = cache.observe(profile(6, spec={"image": "from a newer version"}))

    assert change is not None
    assert change.new is None
    assert cache.unreadable["", "default"].spec == {"image": "from a newer version"}
    assert [found.metadata.name for found in cache.find("secret", "store")] == ["good"]
    assert cache.knows("", "default", "u1", 6), "the resync would fetch it again in every pass"


def test_an_unreadable_object_that_is_mended_is_back(cache: Cache[TrainerProfile]) -> None:
    cache.observe(profile(6, spec={}))

    cache.observe(profile(7))

    assert not cache.unreadable
    assert version_in(cache) == "7"


def test_an_object_without_metadata_is_an_error_of_its_own(cache: Cache[TrainerProfile]) -> None:
    with pytest.raises(UnreadableError, match="metadata"):
        cache.observe({"kind": "TrainerProfile"})


def test_annotations_of_others_are_not_kept(cache: Cache[TrainerProfile]) -> None:
    raw = profile(5)
    metadata: JsonObject = {
        "name": "default",
        "uid": "u1",
        "resourceVersion": "5",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{…}", "relora.dev/retryRequestedAt": "x"},
    }
    raw["metadata"] = metadata
    cache.observe(raw)

    found = cache.get("", "default")
    assert found is not None
    assert found.metadata.annotations == {"relora.dev/retryRequestedAt": "x"}
