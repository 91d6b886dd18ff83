"""Training and preflight over hosts with real TCP between them: network namespaces, see network_hosts.py."""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

import network_hosts
import support

SCRIPT = support.ROOT / "launch" / "mpirun.sh"
GRACE = 30  # seconds beside the deadline until every rank must be gone
RETRY = 75


class OverHosts(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.hosts = network_hosts.Hosts(self.folder)
        self.addCleanup(self.hosts.close)
        (self.folder / "both").write_text("h1 slots=2\nh2 slots=2\n")
        (self.folder / "first").write_text("h1 slots=4\n")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "OMP_"))}
        self.environment.update({"JREG": support.JREG, "OMPI_MCA_plm_rsh_agent": str(self.hosts.agent),
                                 "OMPI_MCA_btl": "self,tcp", "OMPI_MCA_odls_base_sigkill_timeout": "1",
                                 # The hosts share this machine's cores.
                                 "OMPI_MCA_mpi_yield_when_idle": "1"})

    def command(self, hostfile, run, *words, preflight=False, **changes):
        """launch/mpirun.sh on h1 with 4 ranks, data 2 x tensor 2."""
        options = {**support.TINY, "mesh.tensor": 2, "data.train": self.data / "train",
                   "data.validation": self.data / "validation", "run.dir": self.folder / run}
        options.update({name.replace("__", "."): value for name, value in changes.items()})
        config = self.folder / f"{run}.cfg"
        sections = {}
        for name, value in options.items():
            section, key = name.split(".", 1)
            sections.setdefault(section, []).append(f"{key} = {value}")
        config.write_text("".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines)
                                  for name, lines in sections.items()))
        checked = ["--preflight"] if preflight else []
        return [self.hosts.enter, "h1", SCRIPT, "-n", "4", "--threads", "1", "--hostfile", self.folder / hostfile,
                *checked, config, *words]

    def launch(self, hostfile, run, *words, check=0, **changes):
        result = subprocess.run(self.command(hostfile, run, *words, **changes), capture_output=True, text=True,
                                timeout=120, check=False, env=self.environment, cwd=self.folder,
                                stdin=subprocess.DEVNULL)
        self.assertEqual(result.returncode, check, result.stdout + result.stderr)
        return result

    def ranks_on(self, *hosts):
        return [pid for host in hosts for pid in self.hosts.processes(host, pathlib.Path(support.JREG).name)]

    def test_the_run_is_that_on_one_host_and_a_host_cut_off_costs_what_was_not_saved(self):
        """One run of 300 updates on one host, whole; the same over two hosts, of which one is lost on the way."""
        changes = {"train__steps": 300, "checkpoint__interval": 50, "eval__interval": 0, "probe__interval": 0,
                   "run__step_deadline": 4, "optim__warmup_steps": 10}
        self.launch("first", "whole", **changes)
        log = self.folder / "cut.log"
        with log.open("w") as file:
            process = subprocess.Popen(self.command("both", "cut", preflight=True, **changes), stdout=file,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.environment,
                                       cwd=self.folder)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        wait_for(lambda: "step_00000100" in log.read_text() or process.poll() is not None)
        self.assertEqual(len(self.ranks_on("h1")), 2, log.read_text())
        self.assertEqual(len(self.ranks_on("h2")), 2)
        self.hosts.set_link("h2", "down")
        cut = time.monotonic()
        wait_for(lambda: not self.ranks_on("h1", "h2"), changes["run__step_deadline"] + GRACE)
        gone = time.monotonic()
        self.assertEqual(process.wait(2 * GRACE), RETRY, log.read_text())
        ended = time.monotonic()
        lines = [line for line in log.read_text().splitlines() if "no progress" in line]
        for rank in (0, 1):
            self.assertTrue(any(f"rank {rank} on host h1, step " in line and ", phase " in line for line in lines),
                            log.read_text())

        # On the host that is left, then on both again.
        self.launch("first", "cut", "--resume", "auto", "--stop-at", "200", **changes)
        resumed = time.monotonic()
        self.hosts.set_link("h2", "up")
        self.launch("both", "cut", "--resume", "auto", **changes)
        self.assertEqual(support.differences_of_runs(self.folder / "whole", self.folder / "cut"), [])
        self.assertEqual(support.read_columns(self.folder / "cut")["train/step"].tolist(), list(range(1, 301)))
        print(f"cut off: ranks gone after {gone - cut:.1f} s, launcher after {ended - cut:.1f} s; "
              f"on one host again and 100 updates done {resumed - ended:.1f} s later")

    def preflight(self, *words, check=0):
        return self.launch("both", "run", "--preflight", *words, check=check)

    def test_a_preflight_finds_what_differs_between_hosts(self):
        good = self.preflight()
        for text in ("hosts: 2 with 2 rank(s): h1 h2", "the same folder on every rank", "between hosts at least",
                     "preflight passed"):
            self.assertIn(text, good.stderr)
        self.assertNotIn("OpenMP threads on", good.stderr, "OMP_NUM_THREADS reaches every host")

        prepare = self.folder / "prepare_h2"
        run = shlex.quote(str(self.folder / "run"))
        prepare.write_text(f"mkdir -p {run} && mount -t tmpfs none {run}\n")
        self.assert_error(self.preflight(check=2), "run folder", "ranks 2, 3 on host h2", "another folder than rank 0")
        (self.folder / "run").rmdir()

        other = self.folder / "other_jreg"
        shutil.copy(support.JREG, other)
        with other.open("ab") as file:
            file.write(b"\n")
        prepare.write_text(f"mount --bind {shlex.quote(str(other))} {shlex.quote(support.JREG)}\n")
        self.assert_error(self.preflight(check=2), "program", "ranks 2, 3 on host h2", "another executable")

        tokens = self.folder / "other"
        support.write_tokens(tokens, support.sample_documents(9, 120))
        prepare.write_text("".join(f"mount --bind {tokens}.{suffix} {self.data}/train.{suffix}\n"
                                   for suffix in ("bin", "idx")))
        self.assert_error(self.preflight(check=2), "tokens", "ranks 2, 3 on host h2", str(self.data / "train"))

        prepare.write_text(f"mount --bind {self.folder} {self.data}\n")
        self.assert_error(self.preflight(check=2), "ranks 2, 3 on host h2", f"{self.data / 'train'}.idx")
        prepare.unlink()

        try:
            self.hosts.limit_rate("h2", "4mbit")
        except subprocess.CalledProcessError as error:
            print(f"slow link not tried: {error.stderr}")
            return
        slow = self.preflight(check=RETRY)
        self.assert_error(slow, "links", "hosts h1 and h2")
        self.hosts.unlimit_rate("h2")
        # Before a run, it stops that.
        self.launch("both", "run", preflight=True, check=2, run__dir="/proc/run")
        self.launch("both", "run", preflight=True, train__steps=2)
        self.assertEqual(support.read_columns(self.folder / "run")["train/step"].tolist(), [1, 2])


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {seconds} s")
        time.sleep(0.05)


if __name__ == "__main__":
    if REASON := network_hosts.reason_to_skip():
        print(f"skipped: {REASON}")
        sys.exit(77)
    support.main()
