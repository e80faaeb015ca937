"""Every reason that a condition can carry: where it appears, whose it is, what it means and what to do.

The documentation's list and the operator's behaviour come from this one registry.
"""

from dataclasses import replace

from relora_operator.core.reason import Blame, Entry, Reason

__all__ = ["REGISTRY", "Blame", "Entry", "Reason", "parse_reason"]


_RELEASE = ("BaseModelRelease.Accepted", "BaseModelRelease.Ready", "BaseModelRelease.Complete")
_HALTED = ("BaseModelRelease.Halted", *_RELEASE[1:])
_ADAPTING = ("AdapterBinding.UpToDate",)
_EVALUATED = ("AdapterBinding.Adapted", "AdapterBinding.Evaluated")
_BINDING = ("AdapterBinding.Ready", "AdapterBinding.UpToDate")
_SERVER = ("AdapterServer.Ready", "AdapterServer.UpToDate")
_RETRY = (
    "Then set the annotation relora.dev/retryRequestedAt of the binding to a new value, or change the spec; "
    "both start it again."
)


def _good(conditions: tuple[str, ...], meaning: str) -> Entry:
    return Entry(conditions=conditions, meaning=meaning)


def _held(conditions: tuple[str, ...], meaning: str, remedy: str) -> Entry:
    return Entry(conditions=conditions, meaning=meaning, remedy=remedy, terminal=True)


def _lineage(meaning: str, remedy: str) -> Entry:
    return Entry(conditions=_RELEASE, meaning=meaning, remedy=remedy, blame=Blame.RELEASE, terminal=True)


def _owner(conditions: tuple[str, ...], meaning: str, remedy: str) -> Entry:
    return Entry(conditions=conditions, meaning=meaning, remedy=remedy, blame=Blame.OWNER, terminal=True)


def _release(conditions: tuple[str, ...], meaning: str, remedy: str) -> Entry:
    return Entry(conditions=conditions, meaning=meaning, remedy=remedy, blame=Blame.RELEASE, terminal=True)


def _spent(conditions: tuple[str, ...], meaning: str, remedy: str) -> Entry:
    return replace(_release(conditions, meaning, remedy), spends_budget=True)


def _halt(meaning: str, remedy: str) -> Entry:
    return _release(_HALTED, meaning, remedy)


REGISTRY: dict[Reason, Entry] = {
    Reason.ACCEPTED: _good(_RELEASE[:2], "The release is on the model's chain, and its profile exists."),
    Reason.ALL_PROMOTED: _good(_RELEASE[2:], "Every eligible binding was promoted to the release."),
    Reason.COMPLETED_WITH_FAILURES: Entry(
        conditions=_RELEASE[2:],
        meaning="Every eligible binding came to an end, some without being promoted to the release.",
        remedy="`status.failureSamples` names up to ten of them; each binding's condition UpToDate says why.",
    ),
    Reason.GATE_PASSED: _good(_EVALUATED, "An adapter for the newest release passed its gate."),
    Reason.NEWEST_RELEASE: _good(
        (*_ADAPTING, _EVALUATED[0], _SERVER[1]),
        "What is in use is on the newest release in which the object takes part.",
    ),
    Reason.NO_BINDINGS: Entry(
        conditions=(_RELEASE[2], *_SERVER),
        meaning="No binding takes part. A server without bindings is ready for them and keeps the set that it has.",
        remedy="Create an AdapterBinding for the model, and let its serverRef name the server.",
    ),
    Reason.PROMOTED: _good(
        (_BINDING[0], _SERVER[0]), "The pair is in use; with a server, its roll-out was seen to be complete."
    ),
    Reason.SOURCE_PINNED: _good(
        _EVALUATED, "The adapter is the one that spec.source pins by digest; it was not made or evaluated here."
    ),
    Reason.SUPERSEDED: _good(_RELEASE[2:], "All bindings take part in a newer release."),
    Reason.WITHDRAWN: _good(_RELEASE[1:], "`spec.withdrawn` took the release back, and no binding is on it any more."),
    Reason.AWAITING_APPROVAL: _held(
        (*_ADAPTING, "AdapterServer.blockers"),
        "A newer release is there, and `spec.updatePolicy` lets the binding move to approved ones only.",
        "Name the release in `spec.updatePolicy.approvedReleaseName`, or set the mode Automatic.",
    ),
    Reason.AWAITING_BINDINGS: Entry(
        conditions=(_SERVER[1],),
        meaning="Members are still being re-adapted to the newest release; the server moves when all have passed.",
        remedy="`status.blockers` names up to ten members that have not passed, each with its reason.",
    ),
    Reason.AWAITING_CANARIES: _good(
        (*_ADAPTING, _SERVER[1]), "The canaries of the release (`spec.rollout.canary`) come first."
    ),
    Reason.AWAITING_SERVER: _good(
        _BINDING,
        "The adapter may be served, and the server has not rolled it out yet: it waits for other members, for "
        "`spec.upgrade.minIntervalSeconds` since its last roll-out, or for its pods.",
    ),
    Reason.IN_PROGRESS: _good(_RELEASE[2:], "Eligible bindings are on their way to the release."),
    Reason.QUEUED: _good(
        _ADAPTING,
        "The re-adaptation waits for a slot of the release (`spec.rollout` limits the running Jobs) or for its queue.",
    ),
    Reason.RECOVERING_REPORT: _good(
        _ADAPTING, "A pod was lost before its outcome was recorded; a Job without GPU reads the stored reports."
    ),
    Reason.RETRYING: _good(_ADAPTING, "An attempt failed for a reason that may pass; the next one waits its turn."),
    Reason.RETURNING: _good(_RELEASE[2:], "The release is withdrawn, and bindings are on their way back from it."),
    Reason.ROLLING_BACK: _good((_SERVER[1],), "A roll-out failed, and the previous set is being put back."),
    Reason.ROLLING_OUT: _good(_SERVER, "A serving set is being rolled out."),
    Reason.RUNNING: _good(_ADAPTING, "The re-adaptation runs."),
    Reason.STARTING: _good(_ADAPTING, "The Job exists, and its pod has not started a step yet."),
    Reason.SUPERSEDING: _good(_ADAPTING, "An unfinished Job of an older request is ended before the next one starts."),
    Reason.SUSPENDED: _held(
        (_RELEASE[2], *_BINDING, *_SERVER),
        "`spec.suspend` of the object, or of the release or the server that it waits for, holds the work back. What is "
        "served stays served.",
        "Remove `spec.suspend` of the object that the message names.",
    ),
    Reason.WAITING_FOR_DELTA: _good(_ADAPTING, "The delta of the two bases is not stored yet."),
    Reason.CYCLE_DETECTED: _lineage(
        "The chain of `spec.supersedes` leads back to the release.", "Delete one release of the cycle."
    ),
    Reason.FORKED_LINEAGE: _lineage(
        "An older release already supersedes the same predecessor.",
        "Create the release anew with `spec.supersedes` naming the newest accepted release, and delete this one.",
    ),
    Reason.MODEL_MISMATCH: Entry(
        conditions=(*_RELEASE, *_BINDING),
        meaning="The objects that refer to each other are of different models.",
        remedy="Refer to an object of the same `spec.model`.",
        blame=Blame.OWNER,
        terminal=True,
    ),
    Reason.PREDECESSOR_NOT_ACCEPTED: _lineage(
        "The release that `spec.supersedes` names is not accepted itself.", "Repair or replace that release first."
    ),
    Reason.PREDECESSOR_NOT_FOUND: _lineage(
        "The release that `spec.supersedes` names does not exist.",
        "Create it, or create this release anew with the right name.",
    ),
    Reason.SECOND_ROOT: _lineage(
        "The release has no `spec.supersedes`, and the model already has a first release.",
        "Create the release anew with `spec.supersedes` naming the newest accepted release.",
    ),
    Reason.DELTA_FAILED: _release(
        (*_RELEASE[1:2], *_ADAPTING),
        "The delta of the two bases could not be made.",
        "The message tells the cause: the weights, their digest, or the profile's credentials. "
        "Then set the annotation relora.dev/retryRequestedAt of the release to a new value.",
    ),
    Reason.PROFILE_NOT_FOUND: _release(
        (*_RELEASE[1:2], *_ADAPTING),
        "The TrainerProfile that the release names does not exist.",
        "Create the TrainerProfile; work goes on by itself.",
    ),
    Reason.CANARIES_MISSING: _halt(
        "Fewer servers, and bindings without one, take part and match `spec.rollout.canary.selector` than "
        "`spec.rollout.canary.minPromoted` demands.",
        "Label more of them, widen the selector, or lower `minPromoted`; work goes on by itself.",
    ),
    Reason.CANARY_DEADLINE_EXCEEDED: _halt(
        "Too few canaries were promoted within `spec.rollout.canary.deadlineSeconds`.",
        "See what keeps the canaries; raise the deadline, or raise `spec.rollout.failureBudget.acceptedFailures` to "
        "the number that the message names. Or withdraw the release.",
    ),
    Reason.CANARY_FAILED: _halt(
        "A canary failed, or all canaries came to an end and too few were promoted.",
        "`status.failureSamples` names them. Raise `spec.rollout.failureBudget.acceptedFailures` to the number that "
        "the message names to go on, or withdraw the release.",
    ),
    Reason.FAILURE_BUDGET_EXCEEDED: _halt(
        "More bindings failed because of the release than `spec.rollout.failureBudget` allows.",
        "`status.failureSamples` names some of them. Raise `acceptedFailures` to the number of failures to go on, or "
        "withdraw the release.",
    ),
    Reason.RELEASE_HALTED: _release(
        (*_ADAPTING, _SERVER[1]),
        "The release is halted: no Job starts and nothing is promoted.",
        "The condition Halted of the BaseModelRelease says why, and what resumes it.",
    ),
    Reason.BASE_SKEW: _owner(
        _BINDING,
        "The server serves a release that the binding has no adapter for and takes no part in, or a release was "
        "created anew under its name with other weights.",
        "Admit the binding's namespace to the release, give `spec.source` an adapter for it, or use another server; "
        "give other weights a release of their own.",
    ),
    Reason.CONSENT_MISSING: _owner(
        (*_BINDING, *_SERVER),
        "The target does not carry the label relora.dev/adapter-server with the server's name.",
        "Set the label on the Deployment: it is its owner's consent.",
    ),
    Reason.FIELD_CONFLICT: _owner(
        (*_BINDING, *_SERVER),
        "Another field manager owns one of the two annotations on the target's pod template.",
        "Remove relora.dev/serving-set and relora.dev/serving-set-digest from what that manager applies.",
    ),
    Reason.NOT_ADMITTED: _owner(
        _BINDING,
        "The server does not admit bindings of this namespace.",
        "Widen `spec.allowedBindings` of the AdapterServer, or name another server.",
    ),
    Reason.NOT_ELIGIBLE: _owner(
        ("AdapterServer.blockers",),
        "The member takes no part in the release, so the server cannot move to it.",
        "Admit the member's namespace in `spec.allowedNamespaces` of the release and of its profile, or give the "
        "member another server.",
    ),
    Reason.RELEASE_NOT_FOUND: _owner(
        (*_BINDING, *_SERVER),
        "The release that `spec.source.releaseName` or `spec.initialReleaseName` names does not exist.",
        "Create the BaseModelRelease, or correct the name.",
    ),
    Reason.RELEASE_WITHDRAWN: _release(
        (*_BINDING, _SERVER[1]),
        "The release in use was withdrawn, and there is no earlier pair to return to: nobody is dropped from a server.",
        "Release a base that supersedes it, name an adapter for an earlier release in `spec.source`, or give the "
        "members without an earlier pair another server.",
    ),
    Reason.REQUEST_TOO_LARGE: _owner(
        _ADAPTING,
        "The request does not fit into the 64 KiB of a Job's annotation.",
        "Shorten `spec.task.promptTemplate` or `spec.task.choices`.",
    ),
    Reason.SERVED_NAME_CONFLICT: _owner(
        _BINDING,
        "Another binding is already served under the same name.",
        "Choose another `spec.servedName`.",
    ),
    Reason.SERVER_FULL: _owner(
        _BINDING,
        "The server already holds `spec.maxAdapters` adapters.",
        "Raise `spec.maxAdapters` of the AdapterServer, or name another server.",
    ),
    Reason.SERVER_NOT_FOUND: _owner(
        _BINDING, "The AdapterServer that `spec.serverRef` names does not exist.", "Create it, or correct the name."
    ),
    Reason.SET_TOO_LARGE: _owner(
        _SERVER,
        "The serving set does not fit into the 128 KiB that an annotation is allowed.",
        "Spread the bindings over several servers.",
    ),
    Reason.TARGET_CONFLICT: _owner(
        (*_BINDING, *_SERVER),
        "Another AdapterServer has the same target: the one that the target's label names, else the older one.",
        "Delete one of the two servers, or name another Deployment in `spec.targetRef` of this one.",
    ),
    Reason.TARGET_CONTROLLED: _owner(
        (*_BINDING, *_SERVER),
        "The target belongs to a controller, which would undo what is written to it.",
        "Name a Deployment without a controller owner.",
    ),
    Reason.TARGET_NOT_FOUND: _owner(
        (*_BINDING, *_SERVER),
        "The Deployment that `spec.targetRef` names does not exist.",
        "Create it, or correct `spec.targetRef`.",
    ),
    Reason.FALLBACK_UNAVAILABLE: _owner(
        (_BINDING[0], *_SERVER),
        "The workload that `spec.upgrade.fallbackTargetRef` names cannot take the members that did not pass in time, "
        "so the server keeps its set; in `Ready`, it no longer serves those that it took.",
        "The message tells why: create the Deployment, give it the label relora.dev/adapter-server with the server's "
        "name, at least one replica, or what its pods lack. Then it goes on by itself; after a set was taken back, set "
        "the annotation relora.dev/retryRequestedAt of the AdapterServer to a new value.",
    ),
    Reason.SPLIT: Entry(
        conditions=(_SERVER[1],),
        meaning="The server moved to the newest release without the members that had not passed in time. The fallback "
        "workload serves those on their old base.",
        remedy="`status.fallback.servedNames` is what clients ask of it, `status.blockers` says why the members have "
        "not passed. Whoever passes later goes back to the main workload.",
    ),
    Reason.UPGRADE_OVERDUE: Entry(
        conditions=(_SERVER[1],),
        meaning="Members have not passed within `spec.upgrade.deadlineSeconds`, and the server keeps its set: "
        "`stragglers` is Block, nobody has passed, or the fallback workload already serves another base.",
        remedy="`status.blockers` names them. Help them, remove them from the server, or choose `stragglers: Split`.",
        blame=Blame.OWNER,
    ),
    Reason.ADAPTATION_FAILED: _spent(
        _ADAPTING, "All attempts failed; the message tells how the last one ended.", f"Remove the cause. {_RETRY}"
    ),
    Reason.DEADLINE_EXCEEDED: _owner(
        _ADAPTING,
        "The last attempt ran longer than `spec.readaptation.activeDeadlineSeconds`.",
        f"Raise it; a new attempt repeats no finished step. {_RETRY}",
    ),
    Reason.GATE_FAILED: _spent(
        (*_ADAPTING, _EVALUATED[1]),
        "No step reached the quality gate; in `Evaluated`, none so far. The old pair keeps serving.",
        "Compare `status.candidate.steps[].quality` with `spec.quality.gates`; give the search or the tuning a larger "
        "budget, more data, or another gate. A changed gate judges the stored outcomes anew, without a GPU.",
    ),
    Reason.GATE_INCONCLUSIVE: _release(
        (*_ADAPTING, _EVALUATED[1]),
        "The test set is too small to tell whether the margin holds. The old pair keeps serving.",
        "Give `spec.task.dataset.test` more examples, or `maxRegression` a wider margin.",
    ),
    Reason.IMAGE_PULL_FAILED: _release(
        _ADAPTING,
        "The trainer image could not be pulled in time.",
        f"Check `spec.image` of the TrainerProfile and the nodes' access to the registry. {_RETRY}",
    ),
    Reason.INCOMPATIBLE: _spent(
        _ADAPTING,
        "The adapter cannot be carried to the new base: shapes, tokenizer or adapter type differ.",
        "Train an adapter on the new base and name it in `spec.source`.",
    ),
    Reason.INTEGRITY_FAILED: _release(
        _ADAPTING,
        "A digest does not match, or an artifact has a forbidden form.",
        "The message names the file. Compare the digests in the spec with `relora digest URI`. Weights must be "
        "safetensors; docs/artifacts.md lists what may lie beside them.",
    ),
    Reason.INVALID_DATA: _owner(
        _ADAPTING,
        "The dataset is missing, unreadable or inconsistent with the task.",
        f"The message names the file and the field. Correct it and its digest. {_RETRY}",
    ),
    Reason.JOB_INVALID: _release(
        (_RELEASE[1], *_ADAPTING),
        "The API server takes the Job for invalid, or the operator may not create Jobs in the namespace.",
        "The message has the server's words. Correct the TrainerProfile, or give the operator's account its rights in "
        "the namespace; it is tried again every minute and goes on by itself.",
    ),
    Reason.JOB_REFUSED: _owner(
        (_RELEASE[1], *_ADAPTING),
        "A quota, an admission policy or the Pod Security Standard of the namespace refuses the Job. For a delta Job "
        "it is the operator's namespace.",
        "The message has the server's words. Raise the quota, or let the policy admit the trainer's Jobs; it is tried "
        "again every minute and goes on by itself.",
    ),
    Reason.NON_FINITE_LOSS: _spent(
        _ADAPTING,
        "NaN or infinity appeared in weights, data or loss.",
        f"Lower `spec.readaptation.tuning.learningRate`, or check the weights. {_RETRY}",
    ),
    Reason.OUT_OF_MEMORY: _release(
        _ADAPTING,
        "A container was killed for its memory, twice.",
        f"Raise `spec.resources` of the TrainerProfile, or lower `batchSize` or `maxLength`. {_RETRY}",
    ),
    Reason.PREFLIGHT_FAILED: _owner(
        _ADAPTING,
        "The request cannot be carried out as written.",
        f"The message names the field. Correct it. {_RETRY}",
    ),
    Reason.START_DEADLINE_EXCEEDED: _release(
        _ADAPTING,
        "The Job's pod did not start in time: no pod was created, or its volumes could not be mounted.",
        "Look for events of the Job and its pod: a quota, an admission policy, or a Secret that the TrainerProfile "
        f"or the binding names and that the namespace lacks. {_RETRY}",
    ),
    Reason.UNSCHEDULABLE: _release(
        _ADAPTING,
        "No node could take the pod in time.",
        f"Compare the pod's resources, node selector and tolerations with the cluster's nodes. {_RETRY}",
    ),
    Reason.ROLLED_BACK: _spent(
        (_BINDING[1], _SERVER[1]),
        "The roll-out did not end in time, and the previous set was put back.",
        "The message tells why the new pods did not get ready. Then set the annotation relora.dev/retryRequestedAt "
        "of the AdapterServer to a new value.",
    ),
    Reason.ROLLOUT_FAILED: _owner(
        _SERVER,
        "The roll-out of the first set did not end in time, or that of the previous set after a failure did not.",
        "The message tells why the pods do not get ready. The operator keeps watching: nothing else is to be done.",
    ),
    Reason.SERVER_BLOCKED: _release(
        _BINDING,
        "The adapter passed, and the server stays on its base because another member failed on the release, takes no "
        "part in it or is held back.",
        "`status.blockers` of the AdapterServer names the members; help them, or remove them from the server.",
    ),
}


def parse_reason(text: str | None) -> Reason | None:
    """Return the documented reason of that name, if there is one."""
    try:
        return Reason(text) if text is not None else None
    except ValueError:
        return None
