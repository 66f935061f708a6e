"""``zoolet admin-user``: print a line for the file of the admin endpoint's users."""

import sys

import click

from zoolet.console.reporting import fail
from zoolet.server.operator.roles import ROLES, hash_of


@click.command("admin-user")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    default="read-only",
    help="What the user may do; read-only: see everything; full: also snapshot, restore and reset.",
)
def admin_user(name: str, role: str) -> None:
    """Print a line for zoolet.admin.usersFile, with a hash of the user's password.

    The password is asked for. If standard input is no terminal, its first line is the password.
    """
    if not name or ":" in name or any(letter.isspace() for letter in name):
        fail("a name has no colon and no blanks, and is not empty")
    if sys.stdin.isatty():
        password: str = click.prompt(
            "Password", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        fail("the password is empty: give it in the first line of standard input")
    click.echo(f"{role} password {name} {hash_of(password)}")
