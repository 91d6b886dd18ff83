"""launch/mpirun.sh: ranks, binding, forwarded arguments and exit codes."""
import os
import subprocess

import support

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

    def launch(self, *words):
        # As a user calls it: without what ctest sets for MPI.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "OMP_"))}
        return subprocess.run([SCRIPT, *map(str, words)], capture_output=True, text=True, timeout=120, check=False,
                              env=environment, cwd=self.folder, stdin=subprocess.DEVNULL)

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

    def test_wrong_calls_are_refused_in_one_line(self):
        for words in ((), (self.config,), ("-n", 0, self.config), ("-n", 2, "nowhere.cfg"), ("-x", self.config),
                      ("-n", 2, "--hostfile", "nowhere", self.config), ("-n",), ("-n", 2, "--threads", "a", self.config)):
            with self.subTest(words=words):
                result = self.launch(*words)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)


if __name__ == "__main__":
    support.main()
