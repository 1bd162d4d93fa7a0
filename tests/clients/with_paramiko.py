"""What people do with paramiko: PORT USER KEY FOLDER. It asserts for itself, and prints "done"."""

import os
import socket
import sys
import threading

import paramiko

port, user, key, folder = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
options = {"username": user, "key_filename": key, "allow_agent": False, "look_for_keys": False}
client.connect("127.0.0.1", int(port), timeout=60, **options)
transport = client.get_transport()


def run(command, data=b""):
    channel = transport.open_session(timeout=60)
    channel.exec_command(command)
    channel.sendall(data)
    channel.shutdown_write()
    out = b"".join(iter(lambda: channel.recv(65536), b""))
    return out, channel.recv_exit_status()


for status in (0, 1, 255):
    assert run(f"exit {status}") == (b"", status)
assert run("cat", b"typed") == (b"typed", 0)
large = os.urandom(2_000_000)
assert run("cat", large)[0] == large

shell = client.invoke_shell(term="vt100", width=100, height=30)
shell.send(b"stty size; echo $TERM; exit 4\n")
seen = b"".join(iter(lambda: shell.recv(65536), b""))
assert b"30 100" in seen and b"vt100" in seen, seen
assert shell.recv_exit_status() == 4

sftp = client.open_sftp()
local, back = os.path.join(folder, "local"), os.path.join(folder, "back")
with open(local, "wb") as file:
    file.write(large)
sftp.mkdir("folder")
sftp.put(local, "folder/file")
sftp.get("folder/file", back)
with open(back, "rb") as file:
    assert file.read() == large
with sftp.open("folder/file", "r") as file:
    assert file.readv([(0, 10), (1_000_000, 10)]) is not None
    file.prefetch()
    assert file.read() == large
sftp.posix_rename("folder/file", "folder/other")
sftp.symlink("other", "folder/link")
assert sftp.readlink("folder/link") == "other"
assert sorted(sftp.listdir("folder")) == ["link", "other"]
assert sftp.stat("folder/link").st_size == len(large)
sftp.chmod("folder/other", 0o600)
assert sftp.stat("folder/other").st_mode & 0o777 == 0o600
sftp.truncate("folder/other", 5)
assert sftp.stat("folder/other").st_size == 5
try:
    sftp.stat("missing")
    raise AssertionError("there is no such file")
except FileNotFoundError:
    pass
for name in ("link", "other"):
    sftp.remove("folder/" + name)
sftp.rmdir("folder")

if "PODGATE_TEST_KUBECONFIG" not in os.environ:
    server = socket.create_server(("127.0.0.1", 0))
    target = server.getsockname()
    channel = transport.open_channel("direct-tcpip", target, ("127.0.0.1", 1), timeout=60)
    near, _ = server.accept()
    channel.sendall(b"ping")
    assert near.recv(4) == b"ping"
    near.sendall(b"pong")
    near.close()
    assert channel.recv(4) == b"pong" and channel.recv(1) == b""
    try:
        transport.open_channel("direct-tcpip", ("127.0.0.1", 1), ("127.0.0.1", 1), timeout=60)
        raise AssertionError("nobody listens there")
    except paramiko.ChannelException:
        pass
    come = threading.Event()
    there = transport.request_port_forward("127.0.0.1", 0, lambda channel, origin, server: (channel.sendall(b"hi"), channel.close(), come.set()))
    assert socket.create_connection(("127.0.0.1", there)).makefile("rb").read() == b"hi"
    assert come.wait(60)
    transport.cancel_port_forward("127.0.0.1", there)
client.close()
print("done")
