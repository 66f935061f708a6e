"""The pytest plugin, as a project meets it that has zoolet installed."""

import sys

import pytest

CLEAN = ("-W", "error", "-p", "no:cacheprovider")


def test_each_test_has_an_empty_zookeeper(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_it(zookeeper, zookeeper_client, number):
            assert zookeeper.inside.paths() == []
            zookeeper_client.create("/a", b"x")
            zookeeper.inside.assert_path("/a", b"x")

        def test_that_leaves_everything_wrong(zookeeper, zookeeper_client):
            zookeeper.faults.on(times=None).drop_reply()
            zookeeper.faults.partition(zookeeper_client)
            zookeeper.clock.freeze()
            zookeeper.disk.hold_syncs()
            zookeeper.pause()

        def test_after_it(zookeeper_ensemble_hosts, zookeeper_client):
            assert len(zookeeper_ensemble_hosts.split(",")) == 3
            assert zookeeper_client.create("/a") == "/a"
        """
    )
    pytester.runpytest_subprocess(*CLEAN).assert_outcomes(passed=6)


def test_the_clients_of_zoolet(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import threading

        from zoolet.client import SessionState
        from zoolet.testing import OpCode

        def test_threads(zookeeper, zookeeper_thread_client):
            zookeeper_thread_client.create("/a", b"x")
            zookeeper.inside.assert_path("/a", b"x")
            zookeeper.faults.partition(zookeeper_thread_client)

        def test_the_session_of_a_client_expires(zookeeper, zookeeper_thread_client):
            first = zookeeper_thread_client.session_id
            connected = threading.Event()
            zookeeper_thread_client.add_listener(
                lambda state: connected.set() if state is SessionState.CONNECTED else None
            )
            zookeeper.faults.expire(zookeeper_thread_client)
            assert connected.wait(30)
            assert zookeeper_thread_client.session_id != first
            zookeeper_thread_client.create("/after")

        def test_asyncio(zookeeper, zookeeper_async_client):
            async def work():
                async with zookeeper_async_client as client:
                    await client.create("/a")
                    return [one.op_code for one in zookeeper.inside.requests(client)]

            assert OpCode.CREATE2 in asyncio.run(work())
        """
    )
    pytester.runpytest_subprocess(*CLEAN).assert_outcomes(passed=3)


def test_workers_have_servers_of_their_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(20))
        def test_it(zookeeper, zookeeper_client, number):
            assert zookeeper.inside.paths() == []
            zookeeper_client.create("/a")
        """
    )
    pytester.runpytest_subprocess(*CLEAN, "-n", "3").assert_outcomes(passed=20)


@pytest.mark.parametrize(
    ("scope", "seen"), [("function", "0 0 0 0"), ("module", "0 1 0 1"), ("session", "0 1 2 3")]
)
def test_what_is_there_lasts_as_long_as_the_scope(
    pytester: pytest.Pytester, scope: str, seen: str
) -> None:
    pytester.makeini(f"[pytest]\nzookeeper_scope = {scope}")
    test = """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_it(zookeeper, zookeeper_client, number):
            print("seen", len(zookeeper.inside.paths()))
            zookeeper_client.create("/s-", sequence=True)
        """
    pytester.makepyfile(test_one=test, test_two=test)
    result = pytester.runpytest_subprocess(*CLEAN, "-s")
    result.assert_outcomes(passed=4)
    found = [line.split()[-1] for line in result.outlines if "seen" in line]
    assert " ".join(found) == seen


def test_a_scope_that_is_none_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nzookeeper_scope = test")
    pytester.makepyfile("def test_it(zookeeper): ...")
    result = pytester.runpytest_subprocess(*CLEAN)
    assert result.ret != 0
    result.stdout.re_match_lines([".*zookeeper_scope = test.*"])


def test_the_server_is_set_up_as_a_project_wants_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def zookeeper_settings():
            return {"extendedTypesEnabled": "true", "tickTime": 50}
        """
    )
    pytester.makepyfile(
        """
        def test_it(zookeeper):
            assert zookeeper.config.tick_time_ms == 50
            assert zookeeper.config.rules.allows_ttl
        """
    )
    pytester.runpytest_subprocess(*CLEAN).assert_outcomes(passed=1)


def test_a_failed_test_tells_what_was_injected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from zoolet.testing import OpCode

        def test_it(zookeeper, zookeeper_client):
            zookeeper.faults.on(OpCode.CREATE).drop_reply()
            zookeeper_client.create("/a")
        """
    )
    result = pytester.runpytest_subprocess(*CLEAN)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            "-+ ZooKeeper at 127.0.0.1:[0-9]+ -+",
            "injected: drop the reply: session 0x[0-9a-f]+ CREATE /a",
            "asked: session 0x[0-9a-f]+ CREATE /a -> OK",
        ]
    )


def test_who_does_not_use_it_does_not_load_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            loaded = {name for name in sys.modules if name.startswith("zoolet")}
            assert loaded == {"zoolet", "zoolet.testing", "zoolet.testing.pytest_plugin"}
            assert not {"kazoo", "uvloop"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess(*CLEAN).assert_outcomes(passed=1)


def test_a_suite_of_kazoos_harness_needs_no_plugin(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(
        """
        import threading
        import unittest

        from zoolet.testing import KazooTestCase

        class MyTests(KazooTestCase):
            def test_losing_a_connection_keeps_the_session(self):
                before = self.client.client_id
                self.lose_connection(threading.Event)
                assert self.client.client_id == before

            def test_expiring_a_session_takes_its_ephemerals(self):
                before = self.client.client_id
                self.client.create("/e", ephemeral=True)
                self.expire_session(threading.Event)
                assert self.client.client_id != before
                assert not self.client.exists("/e")

            def test_members_stop_and_come_back(self):
                for member in self.cluster:
                    member.stop()
                    assert not member.running
                self.cluster[1].run()
                assert self.client.retry(self.client.get_children, "/") == []

            def test_tls_is_not_there(self):
                self.setup_zookeeper(use_ssl=True)

        unittest.main()
        """
    )
    result = pytester.run(sys.executable, "-W", "error", path)
    assert result.ret == 0
    result.stderr.fnmatch_lines(["OK (skipped=1)"])
