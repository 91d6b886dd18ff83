"""A real Slurm on one machine, for tests: munged, slurmctld and a slurmd per node, with files, ports and keys of their
own below one folder. Nothing of the system's own Slurm or munge is read or written.

The nodes share this machine's processors and host name; Slurm believes each to be a machine with `cpus` processors.
"""
import contextlib
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
KILL_WAIT = 12  # seconds between SIGTERM and SIGKILL
NODE_TIMEOUT = 10  # seconds without an answer until a node counts as down
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
REQUEUE_DELAY = 5  # seconds until a requeued job may start: Slurm's default is 120, for the life of credentials


def missing_programs():
    """What is not installed of what a cluster needs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def free_ports(count):
    """Ports that nothing listens on, in a row, as slurm.conf wants them for nodes."""
    for first in range(23000 + os.getpid() % 5000, 60000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise RuntimeError("no free ports")


class Job:
    """A job of a cluster's, with the log that its script and tasks write."""

    def __init__(self, cluster, number, log):
        self.cluster, self.number, self.log = cluster, number, pathlib.Path(log)

    def fields(self):
        """What `scontrol show job` tells, as {"JobState": "RUNNING", ...}."""
        words = self.cluster.run("scontrol", "--oneliner", "show", "job", self.number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self):
        return self.fields()["JobState"]

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def story(self):
        """How it went, for a failed test: its log without the progress of training, and what Slurm says of it, of
        nodes and of itself besides."""
        told = [line for line in self.text().splitlines() if not line.startswith(("step=", "jreg: ok: "))]
        numbers = {self.number, self.fields()["JobId"]}
        about = re.compile("|".join([*(rf"JobId={number}\b" for number in numbers),
                                     "not responding", "DOWN", "error:", "[Pp]ing"]))
        with open(self.cluster.folder / "slurmctld.log", encoding="utf-8") as log:
            slurm = [line.rstrip() for line in log if about.search(line)]
        return "\n".join(["", *told, "slurmctld:", *slurm[-60:]])

    def wait(self, condition, what, seconds=120):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"job {self.number}, {self.state()}: waited in vain for {what}:{self.story()}")
            time.sleep(0.1)

    def wait_for_text(self, text, seconds=120):
        self.wait(lambda: text in self.text() or self.state() in ENDED, text, seconds)
        if text not in self.text():
            raise AssertionError(f"job {self.number} ended without {text}:{self.story()}")

    def wait_for_end(self, seconds=240):
        """(state, exit code of the script, number of restarts)"""
        self.wait(lambda: self.state() in ENDED, "its end", seconds)
        fields = self.fields()
        return fields["JobState"], int(fields["ExitCode"].split(":")[0]), int(fields["Restarts"])

    def tasks(self, rank="PMIX_RANK"):
        """{rank: pid} of its running jreg processes. `rank`: where the launcher tells them their number."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError, KeyError):
                if not entry.name.isdigit() or (entry / "comm").read_text().strip() != "jreg":
                    continue
                words = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                environment = dict(word.split("=", 1) for word in words if "=" in word)
                ours = environment.get("SLURM_CONF") == self.cluster.environment["SLURM_CONF"]
                if ours and environment.get("SLURM_JOB_ID") == self.number:
                    found[int(environment[rank])] = int(entry.name)
        return found

    def hosts(self):
        """Names of the nodes it runs on."""
        return self.cluster.run("scontrol", "show", "hostnames", self.fields()["NodeList"]).split()


class Cluster:
    """Runs from start() to stop(). `environment` is what commands and jobs need."""

    def __init__(self, folder, nodes, cpus=2, gpus=0):
        self.folder = pathlib.Path(folder)
        self.nodes = [f"n{i}" for i in range(1, nodes + 1)]
        self.cpus, self.gpus = cpus, gpus
        self.processes = {}
        # Nodes of one host name: Open MPI would take their ranks' shared memory for one node's.
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"),
                            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
                            "OMPI_MCA_btl": "self,tcp", "OMPI_MCA_btl_tcp_if_include": "lo"}

    def start(self):
        try:
            self._start_munge()
            self._write_configuration()
            self._spawn("slurmctld", "slurmctld", "-D")
            for node in self.nodes:
                self.start_node(node)
            self._wait(lambda: self.run("sinfo", "--noheader", "--format=%T").split() == ["idle"], 60,
                       "the nodes do not become idle")
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """Ends jobs, then every process that start() began, and what jobs have left."""
        if "slurmctld" in self.processes:
            self.run("scancel", "--user=root", "--signal=KILL", "--full", check=False)
            self.run("scancel", "--user=root", check=False)
            with contextlib.suppress(AssertionError):
                self._wait(lambda: not self.run("squeue", "--noheader", check=False).strip(), 10, "")
        for name in list(self.processes):
            self._end(name, signal.SIGTERM)
        for pid in self.processes_of():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def call(self, *words, cwd=None, **environment):
        """The end of a command of Slurm's."""
        return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=120,
                              env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                              cwd=cwd or self.folder)

    def run(self, *words, check=True, cwd=None, **environment):
        """Output of a command of Slurm's."""
        result = self.call(*words, cwd=cwd, **environment)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, words))}: {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def path_of(self, program):
        return shutil.which(program, path=self.environment["PATH"])

    def submit(self, name, *words, cwd=None, **environment):
        """sbatch of a job called `name`, with its log in name.log."""
        log = self.folder / f"{name}.log"
        number = self.run("sbatch", "--parsable", f"--job-name={name}", f"--output={log}", *words, cwd=cwd,
                          **environment)
        return Job(self, number.strip(), log)

    def start_node(self, name):
        shutil.rmtree(self.folder / f"spool.{name}", ignore_errors=True)
        shutil.rmtree(self.folder / f"tmp.{name}", ignore_errors=True)
        for kind in ("spool", "tmp"):
            (self.folder / f"{kind}.{name}").mkdir()
        self._spawn(name, "slurmd", "-D", "-N", name)

    def kill_node(self, name):
        """What a power cut does: the node's daemon, its steps and their tasks are gone at once."""
        for pid in self.processes_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in self.processes_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.processes.pop(name).wait()

    def processes_of(self, node=None):
        """Process ids of a node's daemon, steps and tasks; of all nodes without a name."""
        found = set()
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "environ").read_bytes().split(b"\0")
                if f"SLURM_CONF={self.environment['SLURM_CONF']}".encode() not in words:
                    continue
                name = next((word[len(b"SLURMD_NODENAME="):].decode() for word in words
                             if word.startswith(b"SLURMD_NODENAME=")), self._node_of_daemon(entry))
                if name is not None and (node is None or name == node):
                    found.add(int(entry.name))
        return found

    def _node_of_daemon(self, entry):
        # A step's own process has its daemon's environment: of a slurmd that was started for one node.
        words = (entry / "environ").read_bytes().split(b"\0")
        return next((word[len(b"FAKE_NODE="):].decode() for word in words if word.startswith(b"FAKE_NODE=")), None)

    def _start_munge(self):
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self.socket = self.folder / "munge.socket"
        self._spawn("munged", "munged", "--foreground", "--force", f"--socket={self.socket}", f"--key-file={key}",
                    f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
                    f"--seed-file={self.folder}/munge.seed", "--num-threads=2")
        self._wait(self.socket.exists, 20, "munged does not start")

    def _write_configuration(self):
        (self.folder / "state").mkdir()
        port = free_ports(len(self.nodes) + 1)
        names = f"n[1-{len(self.nodes)}]"
        address = f"NodeHostname={platform.node()} NodeAddr=127.0.0.1 Port=[{port + 1}-{port + len(self.nodes)}]"
        resources = f"CPUs={self.cpus} RealMemory=4000"
        if self.gpus:
            resources += f" Gres=gpu:{self.gpus}"
            # Any files will do: nobody opens them.
            (self.folder / "gres.conf").write_text(
                f"NodeName={names} Name=gpu Count={self.gpus} File=/dev/tty[1-{self.gpus}]\n")
        (self.folder / "slurm.conf").write_text(f"""\
ClusterName=test
SlurmctldHost={platform.node()}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={self.socket},cred_expire={REQUEUE_DELAY}
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool.%n
TmpFS={self.folder}/tmp.%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.%n.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
KillWait={KILL_WAIT}
SlurmdTimeout={NODE_TIMEOUT}
MinJobAge=900
MpiDefault=none
NodeName={names} {address} {resources}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE DefaultTime=10 OverSubscribe=NO
""")

    def _spawn(self, name, *command):
        environment = {**self.environment, "FAKE_NODE": name} if name in self.nodes else self.environment
        with (self.folder / f"{name}.out").open("w") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment,
                                                    stdin=subprocess.DEVNULL, cwd=self.folder)

    def _end(self, name, number):
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait(self, condition, seconds, text):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(text)
            time.sleep(0.1)
