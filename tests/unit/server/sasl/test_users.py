"""Users change while the server runs."""

import logging
from pathlib import Path

import pytest

from zoolet.server.sasl.users import Users
from zoolet.server.zoo_cfg.sasl_users import UserSources


def test_a_changed_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "users"
    file.touch(mode=0o600)
    file.write_text("bob:one\n")
    users = Users(UserSources({}, file, None, "", ""))
    users.look()
    assert users.secret_of("bob") == "one"
    assert caplog.text == ""
    new = tmp_path / "new"
    new.write_text("bob:two\nann:three\n")
    new.replace(file)
    users.look()
    assert (users.secret_of("bob"), users.secret_of("ann")) == ("two", "three")
    assert "read the 2 users of SASL again" in caplog.text


@pytest.mark.parametrize("is_removed", [True, False])
def test_users_stay_if_the_file_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, is_removed: bool
) -> None:
    file = tmp_path / "users"
    file.write_text("bob:one\n")
    users = Users(UserSources({}, file, None, "", ""))
    if is_removed:
        file.unlink()
    else:
        file.write_text("bob without a password\n")
    users.look()
    users.look()
    assert users.secret_of("bob") == "one"
    assert caplog.text.count("the users of SASL stay as they are") == 1
    file.write_text("bob:two\n")
    users.look()
    assert users.secret_of("bob") == "two"


def test_users_of_zoo_cfg_have_no_file() -> None:
    users = Users(UserSources({"bob": "one"}, None, None, "", ""))
    assert not users.has_files
    assert users.secret_of("eve") is None
