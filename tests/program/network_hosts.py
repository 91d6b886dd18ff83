"""Hosts on one machine: network namespaces with an address and a name of their own, joined by a bridge. Needs root.

Programs in different hosts see the same files, but only TCP over the bridge leads from one to the other.
"""
import contextlib
import os
import pathlib
import re
import shlex
import signal
import subprocess

NAME = re.compile(r"\bjreg(\d+)-\w+")


def ip(*words, check=True):
    return subprocess.run(["ip", *map(str, words)], check=check, capture_output=True, text=True)


def reason_to_skip():
    """Why there can be no such hosts here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"jreg{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        try:
            ip("-n", name, "link", "add", "name", "bridge", "type", "bridge")
            ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
            subprocess.run(["ip", "netns", "exec", name, "unshare", "--uts", "--mount", "true"], check=True,
                           capture_output=True)
        finally:
            ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces: {(getattr(error, 'stderr', None) or str(error)).strip()}"
    return ""


class Hosts:
    """`count` hosts h1, h2, ... and the launch agent with which mpirun reaches them. close() ends all that runs there.

    Shell commands in the file prepare_<host> of `folder` are run whenever a program enters that host.
    """

    def __init__(self, folder, count=2):
        self.folder = pathlib.Path(folder)
        self.names = [f"h{number}" for number in range(1, count + 1)]
        self.prefix = f"jreg{os.getpid()}-"
        self.bridge = f"{self.prefix}br"
        remove_leftovers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        self._write_scripts()

    def _build(self):
        # In a namespace of its own, too, so that no rule of this machine's firewall touches what crosses the bridge.
        ip("netns", "add", self.bridge)
        ip("-n", self.bridge, "link", "add", "name", "bridge", "type", "bridge")
        ip("-n", self.bridge, "link", "set", "bridge", "up")
        for number, host in enumerate(self.names, 1):
            space = self.prefix + host
            ip("netns", "add", space)
            ip("-n", self.bridge, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("-n", self.bridge, "link", "set", host, "master", "bridge", "up")
            ip("-n", space, "address", "add", f"10.203.7.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", space, "link", "set", device, "up")

    def _write_scripts(self):
        names = "".join(f"10.203.7.{number} {host}\n" for number, host in enumerate(self.names, 1))
        (self.folder / "etc_hosts").write_text("127.0.0.1 localhost\n" + names)
        inside = ('hostname "$0" && mount --bind {0}/etc_hosts /etc/hosts || exit 126\n'
                  'if [ -e {0}/prepare_"$0" ]; then . {0}/prepare_"$0"; fi\nexec "$@"').format(
                      shlex.quote(str(self.folder)))
        self.enter = self.folder / "enter"
        self.enter.write_text("#!/bin/sh\nhost=$1; shift\nexec ip netns exec "
                              f'{self.prefix}"$host" unshare --uts --mount sh -c {shlex.quote(inside)} "$host" "$@"\n')
        self.agent = self.folder / "agent"
        self.agent.write_text(f'#!/bin/sh\nhost=$1; shift\n'
                              f'exec env -i PATH="$PATH" {self.enter} "$host" sh -c "$*"  # as ssh: little of the environment\n')
        for script in (self.enter, self.agent):
            script.chmod(0o755)

    def set_link(self, host, state):
        """"up" or "down": the host's end of its cable."""
        ip("-n", self.bridge, "link", "set", host, state)

    def limit_rate(self, host, rate):
        """What the host sends from now on, as "8mbit"; raises CalledProcessError where the kernel cannot."""
        subprocess.run(["ip", "netns", "exec", self.prefix + host, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf",
                        "rate", rate, "burst", "32kbit", "latency", "400ms"], check=True, capture_output=True)

    def unlimit_rate(self, host):
        subprocess.run(["ip", "netns", "exec", self.prefix + host, "tc", "qdisc", "del", "dev", "eth0", "root"],
                       check=True, capture_output=True)

    def processes(self, host, name=None):
        """Ids of what runs in a host, or of what runs there under that name."""
        pids = [int(pid) for pid in ip("netns", "pids", self.prefix + host, check=False).stdout.split()]
        if name is None:
            return pids
        found = []
        for pid in pids:
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    found.append(pid)
        return found

    def close(self):
        for host in self.names:
            remove_namespace(self.prefix + host)
        remove_namespace(self.bridge)


def remove_namespace(name):
    for pid in ip("netns", "pids", name, check=False).stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "del", name, check=False)


def remove_leftovers():
    """Hosts of tests that were killed."""
    for match in NAME.finditer(ip("netns", "list", check=False).stdout):
        if not pathlib.Path(f"/proc/{match[1]}").exists():
            remove_namespace(match[0])
