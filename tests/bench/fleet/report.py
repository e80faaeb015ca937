"""From what was measured to the rows of the table, and the plot over the sizes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.fleet.course import Course
from bench.fleet.passage import Passage
from bench.results import Row, at_least, at_most, measured

_BINDINGS_PER_SECOND = 40
_OF_THE_CONTROL_PLANE = 90
_WRITES = 12
_GROWTH = 1.2
_MEBIBYTES = 300
_FIRST_JOB_SECONDS = 5
_TAKEOVER_SECONDS = 20
_PLAN_SECONDS = 5


def rows(courses: Sequence[Course]) -> list[Row]:
    """Return the table; the last course is the largest one, with every phase."""
    small, large = courses[0], courses[-1]
    real = large.real
    size = large.bindings
    found = [
        at_most(f"lost bindings of {size}", real.verdict.lost, 0),
        at_most("duplicate Jobs", real.duplicates + real.jobs - size, 0),
        *_of_takeover(large),
        *_of_throughput(large),
        at_most("API writes per binding and release", real.writes_per_binding, _WRITES),
        *_of_growth(small, large),
        at_most("operator memory, at most", real.peak_mebibytes, _MEBIBYTES, "MiB"),
        *_of_memory(large),
        at_most("release applied to first Job", real.first_job_seconds, _FIRST_JOB_SECONDS, "s"),
        measured("release applied to first re-adaptation Job", real.first_readaptation_seconds, "s"),
        *_of_plan(large),
        *_of_samples(large),
    ]
    if large.rest is not None:
        found.append(at_most(f"writes at rest in {large.rest.seconds:.0f} s, the Lease left out", large.rest.writes, 0))
    return found


def _of_takeover(course: Course) -> list[Row]:
    if course.takeover is None:
        return []
    passage = course.takeover.passage
    return [
        at_most("lost bindings, the leader killed at 50 %", passage.verdict.lost, 0),
        at_most("duplicate Jobs, the leader killed at 50 %", passage.duplicates + passage.jobs - course.bindings, 0),
        at_most("leader killed to reconciling again", course.takeover.seconds, _TAKEOVER_SECONDS, "s"),
    ]


def _of_throughput(course: Course) -> list[Row]:
    found = []
    if course.bypassed is not None:
        found.append(
            at_least("throughput, controllers bypassed", course.bypassed.per_second, _BINDINGS_PER_SECOND, "bindings/s")
        )
        share = course.bypassed.usage.cpu_seconds / course.bypassed.seconds * 100
        found.append(measured("operator's processor then", share, "% of a core"))
    found.append(measured("throughput, everything real", course.real.per_second, "bindings/s"))
    if course.alone_seconds is not None:
        share = course.alone_seconds / course.real.seconds * 100
        found += [
            measured("throughput, the control plane alone", course.bindings / course.alone_seconds, "bindings/s"),
            at_least("share of it with the operator", share, _OF_THE_CONTROL_PLANE, "%"),
        ]
    return found


def _of_plan(course: Course) -> list[Row]:
    if course.plan_seconds is None:
        return []
    return [at_most(f"kubectl relora plan for {course.bindings} bindings", course.plan_seconds, _PLAN_SECONDS, "s")]


def _of_samples(course: Course) -> list[Row]:
    """Tell what the operator's processor time goes to where it is the bottleneck, the most first."""
    found = Counter(course.samples or {})
    return [
        measured(f"of the operator's processor time: {part}", count / found.total() * 100, "%")
        for part, count in found.most_common()
    ]


def _of_growth(small: Course, large: Course) -> list[Row]:
    if small is large:
        return [
            measured("requests per binding", _requests(large.real)),
            measured("processor time per binding", _cpu(large.real), "ms"),
        ]
    against = f"at {large.bindings} ÷ at {small.bindings}"
    return [
        measured("requests per binding", _requests(large.real)),
        at_most(f"requests per binding {against}", _requests(large.real) / _requests(small.real), _GROWTH),
        measured("processor time per binding", _cpu(large.real), "ms"),
        at_most(f"processor time per binding {against}", _cpu(large.real) / _cpu(small.real), _GROWTH),
    ]


def _of_memory(course: Course) -> list[Row]:
    if course.memory is None:
        return []
    sizes = sorted(course.memory.mebibytes)
    least, most = (course.memory.mebibytes[size] for size in (sizes[0], sizes[-1]))
    slope = (most - least) * 1024 / (sizes[-1] - sizes[0])
    return [
        measured(f"operator memory at rest, {sizes[0]} bindings", least, "MiB"),
        measured(f"operator memory at rest, {sizes[-1]} bindings", most, "MiB"),
        measured("memory per further binding", slope, "KiB"),
    ]


def _requests(passage: Passage) -> float:
    return passage.usage.total / passage.bindings


def _cpu(passage: Passage) -> float:
    return passage.usage.cpu_seconds * 1000 / passage.bindings


def breakdown(passage: Passage) -> Mapping[str, float]:
    """Return the operator's requests per binding, by verb and resource, most frequent first."""
    return {
        f"{verb} {resource}": round(count / passage.bindings, 2)
        for (verb, resource), count in passage.usage.requests.most_common()
    }


def plot(courses: Sequence[Course], path: Path) -> None:
    """Draw time, requests and memory against the size of the fleet."""
    import matplotlib as mpl  # noqa: PLC0415 - a second of import that only the end needs

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "relora"  # the same figure gives the same file
    from matplotlib import pyplot as plt  # noqa: PLC0415

    sizes = [course.bindings for course in courses]
    parts = (
        ("time of a release, s", [course.real.seconds for course in courses]),
        ("requests per binding", [_requests(course.real) for course in courses]),
        ("operator memory, MiB", [course.real.peak_mebibytes for course in courses]),
    )
    at_rest = courses[-1].memory.mebibytes if courses[-1].memory is not None else {}
    figure, axes = plt.subplots(1, len(parts), figsize=(10, 3.2), layout="constrained")
    for axis, (name, values) in zip(axes, parts, strict=True):
        axis.plot(sizes, values, marker="o")
        axis.set(xscale="log", xlabel="bindings", title=name)
        ticks = sizes
        if values is parts[-1][1] and at_rest:
            axis.plot(list(at_rest), list(at_rest.values()), marker="s", linestyle="--", label="at rest")
            axis.legend()
            ticks = sorted({*sizes, *at_rest})
        axis.set_ylim(bottom=0)
        axis.grid(visible=True, alpha=0.3)
        axis.set_xticks(ticks, [str(size) for size in ticks])
        axis.minorticks_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
