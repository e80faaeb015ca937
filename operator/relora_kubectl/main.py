"""The command `kubectl-relora`, which kubectl runs as `kubectl relora`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from relora_kubectl.approval import ApprovalView, approval_lines, warnings
from relora_kubectl.approve import approve_release
from relora_kubectl.cluster import Cluster
from relora_kubectl.confirmation import confirm
from relora_kubectl.connection import connect
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.history_text import history_blocks
from relora_kubectl.kinds import BINDING, RELEASE, SERVER, parse_reference
from relora_kubectl.looks import StatusLook, ask_again, look_around, look_back
from relora_kubectl.output import Output, printed, warn
from relora_kubectl.plan import plan_view
from relora_kubectl.plan_text import plan_blocks
from relora_kubectl.release_file import read_release
from relora_kubectl.status_text import status_blocks
from relora_kubectl.tables import Block, Note, plain
from relora_kubectl.terminal import rendered, status_screen
from relora_kubectl.watch import follower, watch
from relora_kubectl.withdrawal import WithdrawalView, look_ahead, preview_blocks, withdraw_release

EXIT_CODES = """\
Exit codes: 0 done; 1 it failed, or would be refused; 2 wrong usage; 3 the cluster cannot be asked: no connection,
no right, no such kind."""

Result = TypeVar("Result")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Releases of base models, the adapters that follow them, and the servers that serve both.",
    epilog=EXIT_CODES,
)

ContextOption = Annotated[str | None, typer.Option("--context", help="The kubeconfig's context to use.")]
KubeconfigOption = Annotated[
    str | None, typer.Option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, else ~/.kube/config.")
]
NamespaceOption = Annotated[str | None, typer.Option("--namespace", "-n", help="The namespace to look in.")]
AllOption = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Look in all namespaces.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.", show_choices=False)]


@app.callback()
def _commands() -> None:
    """Make every command a subcommand, even while there is only one."""


@dataclass(frozen=True)
class Where:
    """Which cluster a command is for."""

    kubeconfig: str | None
    context: str | None


def _now() -> datetime:
    return datetime.now(UTC)


def _run(where: Where, work: Callable[[Cluster], Awaitable[Result]]) -> Result:
    """Connect, work, and tell on standard error what could not be read."""

    async def connected() -> Result:
        async with connect(where.kubeconfig, where.context) as cluster:
            try:
                return await work(cluster)
            finally:
                warn(cluster.unreadable)

    return asyncio.run(connected())


def _scope(namespace: str | None, *, everywhere: bool, default: str) -> str:
    """Return the namespace to look in; empty for all."""
    if namespace is not None and everywhere:
        raise PluginError("give -n or -A, not both", ExitCode.USAGE)
    if everywhere:
        return ""
    return default if namespace is None else namespace


@app.command(epilog=EXIT_CODES)
def status(
    release: Annotated[
        str | None, typer.Argument(help="Name of a BaseModelRelease. Default: all that are not superseded.")
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow until the release is complete: 0 when all were promoted.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks of --watch.")] = 2.0,
    namespace: NamespaceOption = None,
    everywhere: AllOption = False,
    output: OutputOption = Output.TEXT,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show how far releases have come.

    Also which servers wait for whom, what failed, and what to do.

    A release counts the bindings of the whole fleet. Its servers are looked for in all namespaces, unless -n names one.

    On a terminal each phase has a bar. In a pipe there is one line a release, and with --watch one line a change.

    \b
    Examples:
      kubectl relora status                          all releases that are in use or under way
      kubectl relora status smollm2-135m-r2 -w       follow one; ends 0 when all were promoted, 1 when some failed
      kubectl relora status -o json | jq '.releases[].phases'
    """  # noqa: D301 - the backslash keeps the examples' lines
    scope = _scope(namespace, everywhere=everywhere, default="")

    async def work(cluster: Cluster) -> ExitCode:
        look = StatusLook(cluster, release, scope)
        if follow:
            shown = follower(output)
            return await watch(look, shown, clock=_now, interval_seconds=interval, must_promote=release is not None)
        view = await look(_now())
        printed(view, output, status_blocks(view), lambda: status_screen(view))
        return ExitCode.DONE

    raise typer.Exit(_run(Where(kubeconfig, context), work))


@app.command(epilog=EXIT_CODES)
def plan(
    *,
    filename: Annotated[
        str,
        typer.Option("--filename", "-f", metavar="FILE", help="YAML with one BaseModelRelease; - is standard input."),
    ],
    limit: Annotated[int, typer.Option(min=0, help="Most rows of a table; 0 for all. JSON has all.")] = 20,
    output: OutputOption = Output.TEXT,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Tell what a release would do, before it is applied.

    Validates the file, then decides about the live bindings by the operator's own rules: who takes part, in which order
    Jobs would start and how long they would take, which servers would move, and what would be refused and why. It
    changes nothing. A release that exists is planned as a change of it. Ends with 1 when the release would
    not be accepted, or its profile does not exist.

    \b
    Examples:
      kubectl relora plan -f release.yaml
      kubectl relora plan -f release.yaml --limit 0 | less
      kustomize build releases | kubectl relora plan -f - -o json | jq '.jobs | length'
    """  # noqa: D301 - the backslash keeps the examples' lines
    release = read_release(filename)

    async def work(cluster: Cluster) -> ExitCode:
        view = plan_view(release, await look_around(cluster), _now())
        blocks = plan_blocks(view, limit)
        printed(view, output, blocks, lambda: rendered(blocks))
        return ExitCode.DONE if view.works else ExitCode.REFUSED

    raise typer.Exit(_run(Where(kubeconfig, context), work))


@app.command(epilog=EXIT_CODES)
def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a binding or a server: NAME, adb/NAME or ads/NAME.")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.TEXT,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show what a binding or a server went through.

    It shows what the status records: of a binding the pair in use, the candidate with its steps and verdicts, and the
    pair that gave way to a newer release; of a server its sets, and those whose roll-out was taken back.

    \b
    Examples:
      kubectl relora history section-classifier -n team     a binding
      kubectl relora history ads/vllm -n serving            a server
    """  # noqa: D301 - the backslash keeps the examples' lines

    async def work(cluster: Cluster) -> None:
        view = await look_back(cluster, namespace or cluster.namespace, name)
        blocks = history_blocks(view)
        printed(view, output, blocks, lambda: rendered(blocks))

    _run(Where(kubeconfig, context), work)


@app.command(epilog=EXIT_CODES)
def retry(
    name: Annotated[str, typer.Argument(metavar="KIND/NAME", help="adb/NAME, ads/NAME or bmr/NAME.")],
    *,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Try again what ended without success.

    That is a re-adaptation (adb), a roll-out that was taken back (ads), or the deltas of a release (bmr).

    Sets the annotation relora.dev/retryRequestedAt. Finished steps are not repeated. When there is nothing to try again
    it changes nothing, says why and ends with 1.

    \b
    Examples:
      kubectl relora retry adb/section-classifier -n team
      kubectl relora retry ads/vllm -n serving
      kubectl relora retry bmr/smollm2-135m-r2
    """  # noqa: D301 - the backslash keeps the examples' lines
    wanted = parse_reference(name, (BINDING, SERVER, RELEASE))

    async def work(cluster: Cluster) -> str:
        return await ask_again(cluster, namespace or cluster.namespace, wanted, _now())

    typer.echo(_run(Where(kubeconfig, context), work))


@app.command(epilog=EXIT_CODES)
def approve(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Name of a BaseModelRelease.")],
    bindings: Annotated[
        list[str] | None, typer.Argument(metavar="[BINDING]...", help="Default: all that await the release.")
    ] = None,
    *,
    namespace: NamespaceOption = None,
    everywhere: AllOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Let bindings of mode Manual move to a release.

    Sets spec.updatePolicy.approvedReleaseName of the named bindings, or of all in the namespace that await the release.
    With -A it says how many those are and asks. What cannot be approved is refused with its reason, and then nothing is
    approved. What is approved already stays as it is.

    \b
    Examples:
      kubectl relora approve smollm2-135m-r2 section-classifier -n team
      kubectl relora approve smollm2-135m-r2 -A --yes
    """  # noqa: D301 - the backslash keeps the examples' lines
    names = bindings or []
    scope = _scope(namespace, everywhere=everywhere, default="")
    if names and everywhere:
        raise PluginError("give bindings or -A, not both", ExitCode.USAGE)

    async def work(cluster: Cluster) -> ApprovalView:
        where = "" if everywhere else scope or cluster.namespace
        return await approve_release(cluster, release, names, where, yes=yes)

    view = _run(Where(kubeconfig, context), work)
    for warning in warnings(view):
        typer.echo(f"warning: {warning}", err=True)
    blocks: list[Block] = [Note("\n".join(approval_lines(view)))]
    printed(view, output, blocks, lambda: rendered(blocks))
    if view.failures:
        raise PluginError("\n".join(view.failures), ExitCode.REFUSED)


@app.command(epilog=EXIT_CODES)
def withdraw(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Name of a BaseModelRelease.")],
    *,
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Take a release back, for good.

    Shows which servers and bindings return to what they used before, who has no pair to return to, and which Jobs end.
    Then it asks, and sets spec.withdrawn: true, which is final. Without a terminal it changes nothing unless --yes is
    given. A release that was withdrawn already stays as it is.

    \b
    Examples:
      kubectl relora withdraw smollm2-135m-r2
      kubectl relora withdraw smollm2-135m-r2 --yes -o json
    """  # noqa: D301 - the backslash keeps the examples' lines

    async def work(cluster: Cluster) -> WithdrawalView:
        found = await look_ahead(cluster, release)
        warn(cluster.unreadable)  # before anybody agrees to what the preview leaves out
        blocks = preview_blocks(found.view)
        if output is Output.TEXT:
            printed(found.view, output, blocks, lambda: rendered(blocks))
        elif found.view.changed and not yes:
            typer.echo("\n".join(plain(blocks)), err=True)
        if found.view.changed:
            if found.view.owned_by:
                typer.echo(f"warning: {_owned(found.view)}", err=True)
            confirm(f"Withdraw release {release} for good?", yes=yes)
            await withdraw_release(cluster, found.release)
        return found.view

    view = _run(Where(kubeconfig, context), work)
    if output is Output.JSON or view.changed:
        done: list[Block] = [Note(f"release {release} is withdrawn")]
        printed(view, output, done, lambda: rendered(done))


def _owned(view: WithdrawalView) -> str:
    return (
        f"{', '.join(view.owned_by)} owns spec.withdrawn of release {view.release} and would put its value back, which "
        "is refused from then on: commit withdrawn: true to the repository instead"
    )


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="kubectl relora")
    except PluginError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.code)
