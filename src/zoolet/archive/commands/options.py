"""The options that the commands for archives share, and the form of moments."""

import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from zoolet.client.command_options import FILE
from zoolet.storage.recovery import AsOf

logs_option = click.option("--logs", type=FILE, help="The dataLogDir, if it is not the dataDir.")
key_option = click.option(
    "--key-file", type=FILE, metavar="FILE", help="The file with the key of an encrypted archive."
)


def check_finite(_: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuse a value that is no number or endless; a range does not refuse NaN."""
    if not math.isfinite(value):
        raise click.BadParameter("give a number of seconds.", param=parameter)
    return value


def state_home() -> Path:
    """Return the folder for what zoolet's commands keep between two runs of one user."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "zoolet"


class MomentType(click.ParamType[Any]):
    """A zxid like 0x1a2b, or a time like 2026-11-23T12:00:00."""

    name = "ZXID|TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the moment as ``AsOf``."""
        if isinstance(value, AsOf):
            return value
        try:
            if value.lower().startswith("0x"):
                return AsOf(zxid=int(value, 16))
            moment = datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a zxid (0x...) nor a time (2026-11-23T12:00:00; add +00:00"
                " or Z if it is not in this machine's time zone).",
                param,
                ctx,
            )
        return AsOf(time_ms=int(moment.timestamp() * 1000))


def just_before(moment: AsOf) -> AsOf:
    """Return the moment before the txn with a zxid, or before all txns with a time."""
    zxid, time_ms, _ = moment
    return AsOf(
        zxid=None if zxid is None else max(0, zxid - 1),
        time_ms=None if time_ms is None else time_ms - 1,
    )
