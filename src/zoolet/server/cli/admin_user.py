"""``zoolet admin-user``: print a line for the file of the admin endpoint's users."""

import click

from zoolet.passwords.asking import ask_password, check_name
from zoolet.passwords.hashes import hash_of
from zoolet.server.operator.roles import ROLES


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
    check_name(name)
    password = ask_password()
    click.echo(f"{role} password {name} {hash_of(password)}")
