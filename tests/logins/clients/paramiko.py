"""Logs in with paramiko: PORT USER key|password SECRET (a key's file, or the password). What went wrong is on stderr."""

import logging
import sys

# The folder of this file stands first there, and this file has the library's name.
sys.path.pop(0)
import paramiko  # noqa: E402

port, user, how, secret = sys.argv[1:]
# The text of a disconnect is nowhere but in its log.
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
credential = {"password": secret}
if how == "key":
    credential = {"pkey": paramiko.Ed25519Key.from_private_key_file(secret)}
try:
    client.connect("127.0.0.1", int(port), user, allow_agent=False, look_for_keys=False, **credential)
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    transport = client.get_transport()
    if transport is not None:
        transport.join(20)
    sys.exit(1)
client.close()
