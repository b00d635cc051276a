"""x0tta6bl4 ...: the one command. What goes wrong is one sentence on standard error and an exit code."""

from __future__ import annotations

import sys

import typer

from flows.commands import access, backup, bench, lab_chat, lab_pay, learning, machine, operator, trial
from flows.commands.conformance import conformance
from flows.commands.explain import explain
from flows.commands.kernel import ebpf
from flows.commands.lab import lab
from flows.commands.licence import licence
from flows.commands.node import join_token, node
from flows.commands.order import order
from flows.commands.smoke import smoke
from models.errors import BrokenError, MeshError

FAILED = 1  # our rules said no, or something does not answer: asking again may help
BROKEN = 2  # we or the configuration are wrong: somebody must mend it

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keeps a mesh network alive, and proves that it healed.",
)
_MACHINE = (machine.up, machine.down, machine.status, machine.doctor, smoke, trial.demo)
_OPERATOR = (
    operator.heal,
    operator.incidents,
    explain,
    operator.approve,
    operator.deny,
    operator.pause,
    operator.resume,
    operator.forgive,
)
_KEEPING = (backup.backup, backup.restore, backup.upgrade)
_LEARNING = (learning.train_weights, learning.generate_test_anomalies)
for command in (*_MACHINE, *_OPERATOR, *_KEEPING, *_LEARNING):
    app.command()(command)
# What follows the benchmark's name is the benchmark's own.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench.bench)
lab.command("trial")(trial.trial)
lab.command("pay")(lab_pay.pay)
lab.command("chat")(lab_chat.chat)
app.add_typer(lab, name="lab")
app.add_typer(ebpf, name="ebpf")
app.add_typer(access.token, name="token")
app.add_typer(join_token, name="join-token")
app.add_typer(node, name="node")
app.add_typer(licence, name="licence")
app.add_typer(order, name="order")
app.add_typer(conformance, name="conformance")


def main() -> None:
    """Run the command line; an error of ours becomes a sentence, anything else keeps its traceback."""
    try:
        app()
    except MeshError as error:
        sys.stderr.write(f"x0tta6bl4: {error}\n")
        sys.exit(BROKEN if isinstance(error, BrokenError) else FAILED)
