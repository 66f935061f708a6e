"""The commands that make a line of a file of users ask for the password here.

This module imports click.
"""

import sys

import click

from zoolet.console.reporting import fail


def check_name(name: str) -> None:
    """End the command with a message if ``name`` cannot be the name of a user in a file."""
    if not name or ":" in name or any(letter.isspace() for letter in name):
        fail("a name has no colon and no blanks, and is not empty")


def ask_password() -> str:
    """Return the password that the user types; without a terminal, the first line of the input."""
    if sys.stdin.isatty():
        password: str = click.prompt(
            "Password", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        fail("the password is empty: give it in the first line of standard input")
    return password
