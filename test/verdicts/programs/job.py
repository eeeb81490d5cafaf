# SPDX-License-Identifier: Apache-2.0
"""A job that goes on until it is told to stop: job.py MODE FOLDER [PORT]"""

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

mode, folder = sys.argv[1], sys.argv[2]
port = int(sys.argv[3]) if len(sys.argv) > 3 else 0
kept = []


def scratch(where, keep):
    fd, path = tempfile.mkstemp(dir=where, prefix="spoor-verdict-job-")
    os.write(fd, b"work" * 1000)
    os.close(fd)
    time.sleep(1)
    if not keep:
        os.unlink(path)


def scan():
    for target in range(port, port + 40):
        with socket.socket() as s:
            s.connect_ex(("127.0.0.1", target))


def drift():
    path = os.path.join(folder, "repair.sh")
    with open(path, "w") as f:
        f.write("#!/bin/sh\nexit 0\n")
    os.chmod(path, 0o755)
    subprocess.run([path], check=True)
    time.sleep(1)
    os.unlink(path)


def share_memory():
    if not kept:
        fd = os.open("/dev/shm/verdict-ring", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, 4096)
        kept.append(mmap.mmap(fd, 4096))
    kept[0][0] = (kept[0][0] + 1) % 256


def serve_socket():
    if not kept:
        s = socket.socket(socket.AF_UNIX)
        s.bind(os.path.join(folder, "app.sock"))
        s.listen()
        s.settimeout(1)
        kept.append(s)
    try:
        kept.append(kept[0].accept()[0])
    except TimeoutError:
        pass


def hold_socket():
    if not kept:
        s = socket.socket(socket.AF_UNIX)
        s.connect(os.path.join(folder, "app.sock"))
        kept.append(s)


def write_shared(name):
    with open(os.path.join(folder, name), "a") as f:
        f.write("one line\n")


def read_shared():
    with open(os.path.join(folder, "report.csv")) as f:
        f.read()


def flood():
    for n in range(300):
        path = os.path.join("/tmp", f"spoor-verdict-flood-{n}")
        with open(path, "w") as f:
            f.write("work")
        os.unlink(path)


def ask_store():
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"PING\r\n")
        s.recv(100)


def call():
    urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()


act = {
    "tidy": lambda: scratch("/tmp", False), "untidy": lambda: scratch("/tmp", True), "elsewhere-tidy": lambda: scratch(folder, False),
    "scan": scan, "drift": drift, "share-memory": share_memory, "serve-socket": serve_socket, "hold-socket": hold_socket,
    "ask-store": ask_store, "call": call, "flood": flood,
    "write-shared": lambda: write_shared("ledger.csv"), "write-report": lambda: write_shared("report.csv"), "read-shared": read_shared,
}[mode]
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
while not stopping:
    try:
        act()
    except (ConnectionError, FileNotFoundError) as problem:
        print(problem, file=sys.stderr)
    time.sleep(0.5)
