"""A plugin for pytest that puts Podgate in the place of the SFTP server that paramiko's own tests start.

PODGATE_ADDRESS is its address and port, PODGATE_KEY the user's private key.
"""

import os

import paramiko
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef, request):
    if fixturedef.argname != "sftp_server":
        return None
    host, port = os.environ["PODGATE_ADDRESS"].rsplit(":", 1)
    transport = paramiko.Transport((host, int(port)))
    fixturedef.addfinalizer(transport.close)
    key = paramiko.Ed25519Key.from_private_key_file(os.environ["PODGATE_KEY"])
    transport.connect(username="alice", pkey=key)
    fixturedef.cached_result = (transport, fixturedef.cache_key(request), None)
    return transport
