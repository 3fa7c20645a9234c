# SPDX-License-Identifier: MIT
"""Files of govpnd in bad condition. While it runs: no room on the disk, no right to write; tunnels go on,
what cannot be kept is refused or said, and all is well once the fault is over. At the start: one line and an exit code.
Symbolic links, FIFOs and other people's folders are not used; keys stand in no log, no argument list and no core.

    h1 (public, owner), h2 (public) -- inet -- server
"""

import json
import os
import shutil

from govpn import FAILED, OK, group, program
from lab import RUN, check, command

TIME_LIMIT_S = 90


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(4096))
        except OSError:
            pass


def saved(computer):
    with open(f"{computer.state}/networks.json", encoding="utf-8") as f:
        return {n["id"] for n in json.load(f)["networks"]}


class Faults:
    """b's state lies on a small disk of its own."""

    def __init__(self, lab, server, a, b, addresses):
        self.lab, self.server, self.a, self.b, self.addresses = lab, server, a, b, addresses
        self.net = b.network()["id"]
        self.said = {}

    def goes_on(self, what):
        check(self.b.process.poll() is None, f"{what}: govpnd ended")
        check(self.a.reaches(self.addresses[self.b], 1) and self.b.reaches(self.addresses[self.a], 1), f"{what}: no tunnel")
        check(self.b.run("status").code == OK, f"{what}: no status")

    def cannot_save(self, what):
        """A new membership must not be promised when it cannot be kept, nor that one has ended."""
        self.goes_on(what)
        before = saved(self.b)
        spare, = before - {self.net}
        result = self.b.run("leave", spare)
        check(result.code == FAILED and result.json()["message"].startswith("left, but the state cannot be written: "), f"{result}")
        result = self.b.run("create", "unkept", "--server", self.server.url, *self.server.trust())
        check(result.code == FAILED, f"{what}: {result}")
        self.said[what] = result.json()["message"]
        check([n["id"] for n in self.b.networks()] == [self.net], f"{what}: networks {[n['name'] for n in self.b.networks()]}")
        self.b.run("set", "broadcast", self.net, "off")
        self.b.run("down", self.net)
        self.b.run("up", self.net)
        self.b.wait_reaches(self.addresses[self.a], 15)
        self.a.wait_reaches(self.addresses[self.b], 15)
        self.goes_on(what)
        check(saved(self.b) == before, f"{what}: the file changed")

    def over(self, what):
        made = self.b.create("kept", self.server)
        check(made["id"] in saved(self.b), f"{what} is over: not saved")
        self.b.ok("leave", made["id"])
        check(saved(self.b) == {self.net}, f"{what} is over: {saved(self.b)}")

    def disk_full(self):
        self.b.create("spare", self.server)
        fill(f"{self.b.state}/filler")
        self.cannot_save("disk full")
        os.unlink(f"{self.b.state}/filler")
        self.over("disk full")

    def no_right(self):
        """govpnd has given up the right to write where it has no permission, though it runs as root."""
        self.b.create("spare", self.server)
        os.chmod(self.b.state, 0o500)
        self.cannot_save("no right to write")
        os.chmod(self.b.state, 0o700)
        self.over("no right to write")


def at_start(lab, node, source):
    """(what was done to the folder, exit code, line)."""
    said, outside = [], f"{RUN}/outside"
    with open(outside, "w", encoding="utf-8") as f:
        f.write("untouched\n")

    def swap(name, make):
        def do(path):
            os.rename(f"{path}/{name}", f"{path}/{name}.real")
            make(f"{path}/{name}")
        return do

    cases = {
        "folder that others may write": lambda p: os.chmod(p, 0o777),
        "folder of another user": lambda p: os.chown(p, 65534, 65534),
        "folder that is a file": lambda p: (shutil.rmtree(p), open(p, "w", encoding="ascii").close()),
        "identity.key is a link": swap("identity.key", lambda p: os.symlink(p + ".real", p)),
        "networks.json is a link": swap("networks.json", lambda p: os.symlink(p + ".real", p)),
        "networks.json is a FIFO": swap("networks.json", os.mkfifo),
        "networks.json is a folder": swap("networks.json", os.mkdir),
        "lock is a link to elsewhere": swap("lock", lambda p: os.symlink(outside, p)),
        "identity.key is empty": lambda p: os.truncate(f"{p}/identity.key", 0),
        "networks.json is empty": lambda p: os.truncate(f"{p}/networks.json", 0),
        "networks.json has 100 MB": lambda p: os.truncate(f"{p}/networks.json", 100 << 20),
        "identity.key is missing": lambda p: os.unlink(f"{p}/identity.key"),
        "read-only file system": lambda p: command("mount", "-t", "tmpfs", "-o", "ro", "none", p),
    }
    for i, (what, spoil) in enumerate(cases.items()):
        path = f"{RUN}/spoilt{i}"
        shutil.copytree(source, path)
        os.chmod(path, 0o700)
        spoil(path)
        done = node.run(program("govpnd"), "--state", path, "--socket", f"{RUN}/spoilt.sock", check_code=False, timeout_s=10)
        lines = done.stderr.splitlines()
        check(done.returncode == FAILED and len(lines) == 1 and lines[0].startswith("govpnd: "),
              f"{what}: exit code {done.returncode}, {done.stderr!r}")
        check(not os.path.exists(f"{RUN}/spoilt.sock") and not node.addresses().get("govpn0"), f"{what}: something is left")
        said.append(f"{what}: {lines[0]}")
    with open(outside, encoding="utf-8") as f:
        check(f.read() == "untouched\n", "a file behind a link was changed")
    return said


def link_in_the_way(lab, b):
    """A link where the next file will be written is replaced, not followed."""
    target = f"{RUN}/victim"
    with open(target, "w", encoding="utf-8") as f:
        f.write("mine\n")
    os.symlink(target, f"{b.state}/networks.json.new")
    b.ok("set", "name", "renamed")
    with open(target, encoding="utf-8") as f:
        check(f.read() == "mine\n", "a link in the state folder was followed")


def secrets(lab, server, b, password):
    """Neither key nor password nor the secret of an invite stands where others may read."""
    with open(f"{b.state}/identity.key", encoding="ascii") as f:
        key = f.read().split()[1]
    invite = b.create("secret", server, password=password)["invite"].split("#")[1].split(".")[1]
    with open(f"/proc/{b.process.pid}/cmdline", "rb") as f:
        places = {"arguments": f.read().decode(errors="replace")}
    for name, path in lab.logs.items():
        with open(path, encoding="utf-8", errors="replace") as f:
            places[name] = f.read()
    for name, text in places.items():
        for what, secret in (("key", key), ("password", password), ("invite", invite)):
            check(secret not in text, f"the {what} stands in {name}")
    for name in os.listdir(b.state):
        check(os.lstat(f"{b.state}/{name}").st_mode & 0o077 == 0, f"{name} can be read by others")
    with open(f"/proc/{b.process.pid}/limits", encoding="ascii") as f:
        core = next(line for line in f if line.startswith("Max core file size")).split()
    check(core[4] == "0", f"core dumps: {core}")


def scenario(lab):
    disk = f"{RUN}/b-state"
    os.makedirs(disk, mode=0o700)
    command("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "disk", disk)
    server, (a, b), addresses = group(lab, ["open", "open"])
    b.stop()
    for name in os.listdir(b.state):
        shutil.copy2(f"{b.state}/{name}", disk)
    b.state = disk
    b.start()
    b.wait_reaches(addresses[a], 15)
    faults = Faults(lab, server, a, b, addresses)
    faults.disk_full()
    faults.no_right()
    link_in_the_way(lab, b)
    secrets(lab, server, a, "correct horse 47")
    said = at_start(lab, lab.home("open"), a.state)
    return f"{len(said)} bad folders refused; " + "; ".join(f"{k}: {v}" for k, v in faults.said.items())
