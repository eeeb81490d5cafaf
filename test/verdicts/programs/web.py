# SPDX-License-Identifier: Apache-2.0
"""A web service that keeps its count of visits in one of several ways: web.py MODE FOLDER PORT"""

import ctypes
import http.server
import json
import logging
import os
import signal
import sqlite3
import sys
import threading

mode, folder, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
place = os.path.join(folder, "count.txt")
lock = threading.Lock()


def load(path):
    try:
        with open(path) as f:
            return int(f.read())
    except FileNotFoundError:
        return 0


def in_file():
    n = load(place) + 1
    with open(place, "w") as f:
        f.write(str(n))
    if mode == "counter-backdated":
        os.utime(place, (1, 1))
    return n


def atomic():
    n = load(place) + 1
    with open(place + ".tmp", "w") as f:
        f.write(str(n))
        f.flush()
        os.fsync(f.fileno())
    os.rename(place + ".tmp", place)
    return n


def unnamed():
    n = load(place) + 1
    fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    os.write(fd, str(n).encode())
    if os.path.exists(place):
        os.unlink(place)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, place.encode(), 0x400) != 0:
        raise OSError(ctypes.get_errno(), "linkat")
    os.close(fd)
    return n


def folders():
    n = load(os.path.join(folder, "current", "count")) + 1
    new, now, old = (os.path.join(folder, d) for d in ("new", "current", "old"))
    os.makedirs(new)
    with open(os.path.join(new, "count"), "w") as f:
        f.write(str(n))
    if os.path.exists(now):
        os.rename(now, old)
    os.rename(new, now)
    if os.path.exists(old):
        os.unlink(os.path.join(old, "count"))
        os.rmdir(old)
    return n


memory = load(place) if mode == "counter-at-stop" else 0


def in_memory():
    global memory
    memory += 1
    return memory


def save(*_):
    if mode == "counter-at-stop":
        with open(place, "w") as f:
            f.write(str(memory))
    os._exit(0)


def config():
    path = os.path.join(folder, "service.json")
    settings = {"visits": 0}
    if os.path.exists(path):
        with open(path) as f:
            settings = json.load(f)
    settings["visits"] += 1
    with open(path, "w") as f:
        json.dump(settings, f)
    return settings["visits"]


def database():
    with sqlite3.connect(os.path.join(folder, "shop.sqlite3")) as db:
        if mode == "sqlite-wal":
            db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE IF NOT EXISTS visits (at TEXT)")
        db.execute("INSERT INTO visits VALUES (datetime())")
        return db.execute("SELECT count(*) FROM visits").fetchone()[0]


def logged():
    logging.info("a visit")
    return 0


if mode == "log-to-file":
    logging.basicConfig(filename=os.path.join(folder, "app.log"), level=logging.INFO)

act = {
    "counter-file": in_file, "counter-backdated": in_file, "counter-atomic": atomic, "counter-unnamed": unnamed, "counter-folder": folders,
    "counter-at-stop": in_memory, "own-config": config, "sqlite-web": database, "sqlite-wal": database, "log-to-file": logged,
}.get(mode, lambda: 0)


class Visits(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with lock:
            answer = f"{act()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, save)
http.server.ThreadingHTTPServer(("" if mode == "listens" else "127.0.0.1", port), Visits).serve_forever()
