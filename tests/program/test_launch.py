"""launch/mpirun.sh: ranks, binding, forwarded arguments, exit codes, signals, preflight and retries."""
import os
import signal
import subprocess
import time

import support
import test_watchdog

SCRIPT = support.ROOT / "launch" / "mpirun.sh"


class Mpirun(support.ProgramTest):
    def setUp(self):
        super().setUp()
        sections = {}
        words = self.options("run")
        for name, value in zip(words[::2], words[1::2]):
            section, key = name.removeprefix("--").split(".", 1)
            sections.setdefault(section, []).append(f"{key} = {value}")
        self.config = self.folder / "tiny.cfg"
        self.config.write_text("\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items()))

    def environment(self, **changes):
        # As a user calls it: without what ctest sets for MPI. An end takes Open MPI twice this timeout.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "OMP_"))}
        return {**kept, "OMPI_MCA_odls_base_sigkill_timeout": "1", **changes}

    def launch(self, *words, **changes):
        return subprocess.run([SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=120, check=False,
                              env=self.environment(**changes), cwd=self.folder, stdin=subprocess.DEVNULL)

    def start(self, *words, **changes):
        """The script while it runs; its output goes to launch.log."""
        self.log = self.folder / "launch.log"
        with self.log.open("w") as log:
            process = subprocess.Popen([SCRIPT, *map(str, words)], stdout=log, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, env=self.environment(**changes), cwd=self.folder)
        self.addCleanup(lambda: process.poll() is None and process.send_signal(signal.SIGTERM))
        return process

    def wait_for_log(self, text, process):
        test_watchdog.wait_for(lambda: text in self.log.read_text() or process.poll() is not None)
        self.assertIn(text, self.log.read_text())

    def program_that_ends_with(self, *endings):
        """A stand-in for jreg that ends so at its calls, one after another, and writes down its arguments."""
        program = self.folder / "stand_in"
        program.write_text("#!/bin/sh\necho \"$@\" >> calls\ncase $(wc -l < calls) in\n" +
                           "".join(f"{call}) {ending} ;;\n" for call, ending in enumerate(endings, 1)) + "esac\n")
        program.chmod(0o755)
        return str(program)

    def calls(self):
        return (self.folder / "calls").read_text().splitlines()

    def test_trains_on_two_ranks_and_passes_options_on(self):
        result = self.launch("-n", 2, "--threads", 1, self.config, "--train.steps", 2)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(support.read_columns(self.folder / "run")["train/step"].tolist(), [1, 2])

    def test_more_ranks_than_cores_run_unbound(self):
        result = self.launch("-n", 4, "--threads", os.cpu_count(), self.config, "--train.steps", 1)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("not bound", result.stderr)

    def test_a_hostfile_is_passed_on(self):
        hosts = self.folder / "hosts"
        hosts.write_text("# this machine\nlocalhost slots=1\n")
        result = self.launch("-n", 1, "--threads", 1, "--hostfile", hosts, self.config, "--train.steps", 1)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_exit_code_of_the_program_comes_through(self):
        result = self.launch("-n", 1, self.config, "--train.stepz", 1)
        self.assertEqual(result.returncode, 2)
        self.assertIn("train.steps", result.stderr)

    def test_ranks_per_node_come_from_the_hosts(self):
        hosts = self.folder / "hosts"
        hosts.write_text("localhost slots=2  # this machine\n")
        result = self.launch("--per-node", 2, "--hostfile", hosts, "--threads", 1, self.config, "--train.steps", 1)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("2 rank(s)", result.stderr)
        for words, parts in ((("-n", 3), ("2 slots", "3 ranks")), (("-n", 2, "--per-node", 1), ("--per-node 1",)),
                             (("--per-node", 3), ("slots",))):
            refused = self.launch(*words, "--hostfile", hosts, self.config)
            self.assertEqual(refused.returncode, 2)
            for part in parts:
                self.assertIn(part, refused.stderr)

    def test_a_preflight_stops_what_could_not_run(self):
        result = self.launch("-n", 2, "--preflight", self.config, "--run.dir", "/proc/run")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("run folder", result.stderr)
        result = self.launch("-n", 2, "--preflight", self.config, "--train.steps", 2)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertLess(result.stderr.index("preflight passed"), result.stderr.index("done: step 2"))

    def test_ends_that_may_pass_are_followed_by_another_start(self):
        endings = ["exit 75", "kill -9 $$", "exit 85", "exit 0"]
        result = self.launch("-n", 1, "--retries", 3, "--retry-delay", 0, self.config, "--jreg.lambda", 1,
                             JREG=self.program_that_ends_with(*endings))
        self.assertEqual(result.returncode, 0, result.stderr)
        first, *others = self.calls()
        self.assertEqual(first, f"train --config {self.config} --jreg.lambda 1")
        self.assertEqual(others, [f"{first} --resume auto"] * 3)
        for code in (75, 137, 85):
            self.assertIn(f"exit code {code}; starting again", result.stderr)

    def test_retries_have_an_end_and_are_for_what_may_pass(self):
        for endings, retries, code, calls in ((["exit 75"] * 9, 2, 75, 3), (["exit 2", "exit 0"], 5, 2, 1),
                                              (["exit 75"], 0, 75, 1), (["exit 70"], 5, 70, 1)):
            with self.subTest(endings=endings):
                (self.folder / "calls").unlink(missing_ok=True)
                result = self.launch("-n", 1, "--retries", retries, "--retry-delay", 0, self.config,
                                     JREG=self.program_that_ends_with(*endings))
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertEqual(len(self.calls()), calls)

    def test_a_killed_rank_is_followed_by_a_run_with_the_same_end(self):
        changes = ["--train.steps", 400, "--checkpoint.interval", 50, "--eval.interval", 0, "--probe.interval", 0]
        self.assertEqual(self.launch("-n", 2, self.config, *changes, "--run.dir", "whole").returncode, 0)
        process = self.start("-n", 2, "--retries", 1, "--retry-delay", 0, self.config, *changes)
        self.wait_for_log("step_00000100", process)
        mpirun = next(pid for pid in test_watchdog.children(process.pid) if test_watchdog.ranks_below(pid))
        os.kill(test_watchdog.ranks_below(mpirun)[1], signal.SIGKILL)
        self.assertEqual(process.wait(120), 0, self.log.read_text())
        self.assertIn("exit code 137; starting again", self.log.read_text())
        self.assertIn("resumed at step", self.log.read_text())
        self.assertEqual(support.differences_of_runs(self.folder / "whole", self.folder / "run"), [])

    def test_a_signal_to_the_script_ends_with_a_checkpoint(self):
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            with self.subTest(signal=number):
                run = self.folder / number.name
                process = self.start("-n", 2, "--retries", 3, self.config, "--train.steps", 1_000_000, "--eval.interval",
                                     0, "--probe.interval", 0, "--run.dir", run)
                self.wait_for_log("step=5 ", process)
                process.send_signal(number)
                self.assertEqual(process.wait(60), 85, self.log.read_text())
                self.assertIn("asked to end by a signal", self.log.read_text())
                self.assertNotIn("starting again", self.log.read_text())
                steps = [path.name for path in run.glob("checkpoints/step_????????")]
                self.assertEqual(len(steps), 1)
                self.jreg("verify", run / "checkpoints" / steps[0])

    def test_a_third_signal_ends_it_though_a_rank_stands_still(self):
        process = self.start("-n", 2, "--retries", 3, self.config, "--train.steps", 1_000_000, "--eval.interval", 0,
                             "--probe.interval", 0)
        self.wait_for_log("step=5 ", process)
        mpirun = next(pid for pid in test_watchdog.children(process.pid) if test_watchdog.ranks_below(pid))
        ranks = test_watchdog.ranks_below(mpirun)
        os.kill(ranks[1], signal.SIGSTOP)
        for _ in range(3):
            self.assertIsNone(process.poll())
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)  # bash counts signals that come together once
        self.assertNotIn(process.wait(20), (0, 85), self.log.read_text())
        test_watchdog.wait_for(lambda: not any(map(test_watchdog.is_running, ranks.values())), 20)
        self.assertNotIn("starting again", self.log.read_text())

    def test_wrong_calls_are_refused_in_one_line(self):
        for words in ((), (self.config,), ("-n", 0, self.config), ("-n", 2, "nowhere.cfg"), ("-x", self.config),
                      ("-n", 2, "--hostfile", "nowhere", self.config), ("-n",), ("-n", 2, "--threads", "a", self.config),
                      ("-n", 2, "--retries", "-1", self.config), ("--per-node", 2, self.config),
                      ("-n", 2, "--per-node", 0, self.config)):
            with self.subTest(words=words):
                result = self.launch(*words)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)


if __name__ == "__main__":
    support.main()
