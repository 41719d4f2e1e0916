"""A real S3 server on loopback: Ceph's RADOS gateway over one monitor and one OSD, from Debian's packages.

It enforces keys, honours ``If-None-Match: *``, knows multipart and ranges. Starts in about 5 s, as any user. The
daemons are children of this process and end with it, also when it is killed. ``python tests/s3/server.py`` runs it.
"""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from string import Template

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin", "setpriv")
INSTALL = "apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd ceph-common"
ACCESS_KEY, SECRET_KEY = "pumascale-test", "pumascale-test-secret"


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The endpoint of a fresh, empty server; everything is gone afterwards.

    Raises
    ------
    FileNotFoundError
        When Ceph is not installed; the message is the command that does.
    """
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise FileNotFoundError(f"The S3 server of the tests needs {', '.join(missing)}. Install it by:  {INSTALL}")
    with contextlib.ExitStack() as stack:
        # A short path: the daemons' sockets have at most 107 characters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rgw-", ignore_cleanup_errors=True)))
        yield _start(folder, stack)


def _start(folder: Path, stack: contextlib.ExitStack) -> str:
    port, mon_port = _free_ports(2)
    for name in ("mon", "osd", "run", "log"):
        (folder / name).mkdir()
    fsid = _write_config(folder, port, mon_port)
    _run(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", _monmap(folder))
    _ceph(folder, "ceph-mon", "-i", "a", "--mkfs", "--monmap", _monmap(folder))
    _daemon(folder, stack, "ceph-mon", "-f", "-i", "a")
    _add_osd(folder, stack)
    user = ("--uid=test", "--display-name=test", f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")
    _ceph(folder, "radosgw-admin", "user", "create", *user)
    _daemon(folder, stack, "radosgw", "-f", "-n", "client.rgw")
    _wait(f"http://127.0.0.1:{port}", folder)
    return f"http://127.0.0.1:{port}"


def _add_osd(folder: Path, stack: contextlib.ExitStack) -> None:
    osd = str(uuid.uuid4())
    _ceph(folder, "ceph", "osd", "new", osd)
    _ceph(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    _daemon(folder, stack, "ceph-osd", "-f", "-i", "0")
    _ceph(folder, "ceph", "osd", "crush", "add", "osd.0", "1.0", "host=h", "root=default")


def _write_config(folder: Path, port: int, mon_port: int) -> str:
    fsid = str(uuid.uuid4())
    template = Template((Path(__file__).parent / "ceph.conf.in").read_text())
    values = {"folder": folder, "port": port, "mon_port": mon_port, "fsid": fsid}
    (folder / "ceph.conf").write_text(template.substitute(values))
    return fsid


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _monmap(folder: Path) -> str:
    return str(folder / "monmap")


def _ceph(folder: Path, program: str, *arguments: str) -> None:
    _run(folder, program, "-c", str(folder / "ceph.conf"), *arguments)


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def _daemon(folder: Path, stack: contextlib.ExitStack, program: str, *arguments: str) -> None:
    # pdeathsig: even a SIGKILL of the tests leaves no server behind.
    command = ["setpriv", "--pdeathsig", "KILL", program, "-c", str(folder / "ceph.conf"), *arguments]
    with (folder / "log" / f"{program}.out").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # The data is thrown away, so there is nothing to shut down in order.
    process.kill()
    process.wait()


def _wait(endpoint: str, folder: Path) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(endpoint, timeout=5).close()
            return
        time.sleep(0.1)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in (folder / "log").iterdir())
    raise RuntimeError(f"The S3 server did not start:\n{logs}")


def environment(endpoint: str) -> dict[str, str]:
    """What makes botocore, s3fs and every child process use the server at `endpoint`."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_REGION": "us-east-1",
    }


def main() -> None:
    """Run until Ctrl-C, after printing what to export."""
    with running() as endpoint, contextlib.suppress(KeyboardInterrupt):
        for name, value in environment(endpoint).items():
            print(f"export {name}={value}", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
