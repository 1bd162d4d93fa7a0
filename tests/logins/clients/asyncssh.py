"""Logs in with asyncssh: PORT USER key|password SECRET (a key's file, or the password). What went wrong is on stderr."""

import asyncio
import sys
import warnings

# Old versions name ciphers that cryptography has put away.
warnings.simplefilter("ignore")
# The folder of this file stands first there, and this file has the library's name.
sys.path.pop(0)
import asyncssh  # noqa: E402


async def main():
    port, user, how, secret = sys.argv[1:]
    credential = {"password": secret, "client_keys": None}
    if how == "key":
        credential = {"client_keys": [secret]}
    options = {"known_hosts": None, "agent_path": None, "config": None}
    async with asyncssh.connect("127.0.0.1", int(port), username=user, **credential, **options):
        pass


try:
    asyncio.run(main())
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(1)
