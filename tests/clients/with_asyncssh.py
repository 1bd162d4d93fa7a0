"""What people do with asyncssh: PORT USER KEY FOLDER. It asserts for itself, and prints "done"."""

import asyncio
import os
import sys
import warnings

# Old versions name ciphers that cryptography has put away.
warnings.simplefilter("ignore")
import asyncssh  # noqa: E402

port, user, key, folder = sys.argv[1:]


async def programs(connection):
    async def one(number):
        done = await connection.run(f"echo {number}; exit {number}")
        assert (done.stdout, done.exit_status) == (f"{number}\n", number), done

    await asyncio.gather(*(one(number) for number in range(20)))
    done = await connection.run("kill -TERM $$")
    assert done.exit_signal[0] == "TERM", done.exit_signal
    process = await connection.create_process("echo up; exec sleep 600")
    assert await process.stdout.readline() == "up\n"
    process.send_signal("INT")
    done = await process.wait()
    assert done.exit_signal and done.exit_signal[0] == "INT", done
    done = await connection.run("stty size; echo $TERM", term_type="vt100", term_size=(100, 30))
    assert done.stdout.splitlines() == ["30 100", "vt100"], done.stdout
    done = await connection.run("cat >&2", input="typed")
    assert (done.stdout, done.stderr) == ("", "typed"), done


async def files(connection):
    tree = os.path.join(folder, "tree")
    os.makedirs(os.path.join(tree, "below"))
    for number in range(200):
        with open(os.path.join(tree, "below", f"file-{number}"), "w") as file:
            file.write(str(number))
    async with connection.start_sftp_client() as sftp:
        await sftp.put(tree, "there", recurse=True, preserve=True)
        assert len(await sftp.glob("there/below/file-*")) == 200
        await sftp.get("there", os.path.join(folder, "back"), recurse=True)
        for number in range(200):
            with open(os.path.join(folder, "back", "below", f"file-{number}")) as file:
                assert file.read() == str(number)
        assert await sftp.realpath("there/../there") == await sftp.realpath("there")
        await sftp.rmtree("there")
        assert not await sftp.exists("there")
        statvfs = await sftp.statvfs(".")
        assert statvfs.bsize > 0


async def forwards(connection):
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()

    async def asked(reader, writer):
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()

    path = os.path.join(folder, "socket")
    tcp = await asyncio.start_server(answer, "127.0.0.1", 0)
    target = tcp.sockets[0].getsockname()[1]
    unix = await asyncio.start_unix_server(answer, path)
    local = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", target)
    for _ in range(20):
        await asked(*await asyncio.open_connection("127.0.0.1", local.get_port()))
    remote = await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", target)
    await asked(*await asyncio.open_connection("127.0.0.1", remote.get_port()))
    there = os.path.join(folder, "there")
    remote_path = await connection.forward_remote_path(there, path)
    await asked(*await asyncio.open_unix_connection(there))
    for listener in (local, remote, remote_path):
        listener.close()
        await listener.wait_closed()
    tcp.close()
    unix.close()


async def main():
    options = {"known_hosts": None, "agent_path": None, "config": None}
    async with asyncssh.connect("127.0.0.1", int(port), username=user, client_keys=[key], **options) as connection:
        await programs(connection)
        await files(connection)
        if "PODGATE_TEST_KUBECONFIG" not in os.environ:
            await forwards(connection)


asyncio.run(main())
print("done")
