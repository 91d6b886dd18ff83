"""The scripts of slurm/ without a Slurm: what they ask of its commands, which stand-ins write down.

test_slurm.py tries them under a real one.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "slurm"
JOB = {"SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "a[1-2]",
       "SLURM_JOB_CPUS_PER_NODE": "16(x2)", "SLURM_CPUS_ON_NODE": "16", "SLURM_GPUS_PER_NODE": "0"}
STAND_INS = {
    "srun": 'if [ "$*" = --mpi=list ]; then echo "none pmi2 $PLUGIN"; exit; fi\necho "srun $*" >> calls\nexit $CODE',
    "mpirun": 'echo "mpirun $*" >> calls\nexit $CODE',
    "scontrol": 'case "$*" in\n"show config") echo "TaskPlugin = task/affinity" ;;\n*show*) echo "$FIELDS" ;;\n'
                '*) echo "scontrol $*" >> calls; [ "$1" != requeue ] || [ -z "$NO_REQUEUE" ] ;;\nesac',
    "squeue": "echo $STATE",
    "sbatch": 'echo "sbatch $*" >> calls',
    "lscpu": 'echo "Thread(s) per core: 2"',
    "jreg": "echo",
}


class Scripts(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        (self.folder / "bin").mkdir()
        for name, text in STAND_INS.items():
            (self.folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.folder / "bin" / name).chmod(0o755)

    def start(self, script="jreg_1b.sh", *words, code=0, **environment):
        """Runs a script as Slurm would; returns its exit code, what it told, and its calls of Slurm's commands."""
        path = f"{self.folder}/bin:/usr/bin:/bin"
        result = subprocess.run(["bash", SCRIPTS / script, *map(str, words)], capture_output=True, text=True,
                                check=False, timeout=60, cwd=self.folder, stdin=subprocess.DEVNULL,
                                env={**JOB, "PATH": path, "JREG": "bin/jreg", "JREG_HOME": str(ROOT), "CODE": str(code),
                                     "STATE": "RUNNING", "PLUGIN": "pmix pmix_v4", "FIELDS": "", **environment})
        calls = self.folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return result.returncode, result.stderr, lines

    def assert_launched(self, expected, **environment):
        code, told, calls = self.start(**environment)
        self.assertEqual(code, 0, told)
        self.assertIn(f" {expected} ", calls[0])

    def test_ranks_and_threads_follow_from_the_allocation(self):
        for environment, ranks, per_node, cpus, gpus in (
                ({}, 2, 1, 16, 0),
                ({"SLURM_CPUS_PER_TASK": "4"}, 8, 4, 4, 0),
                ({"SLURM_NTASKS_PER_NODE": "2", "SLURM_NTASKS": "4"}, 4, 2, 8, 0),
                ({"SLURM_NTASKS": "6", "SLURM_CPUS_PER_TASK": "2"}, 6, 3, 2, 0),
                ({"SLURM_JOB_CPUS_PER_NODE": "64(x3),8", "SLURM_JOB_NUM_NODES": "4"}, 4, 1, 8, 0),
                ({"SLURM_GPUS_PER_NODE": "4", "SLURM_GPUS_ON_NODE": "8"}, 16, 8, 2, 8),
                ({"SLURM_GPUS_PER_NODE": "a100:4"}, 8, 4, 4, 4),
                ({"SLURM_GPUS_PER_NODE": "", "SLURM_GPUS_ON_NODE": "4"}, 8, 4, 4, 4),
                ({"SLURM_GPUS_PER_NODE": "4", "SLURM_NTASKS_PER_NODE": "2"}, 4, 2, 8, 4),
                ({"SLURM_GPUS_PER_NODE": "0", "SLURM_GPUS_ON_NODE": "8"}, 2, 1, 16, 0)):
            with self.subTest(environment=environment):
                self.assert_launched(f"--ntasks={ranks} --ntasks-per-node={per_node} --cpus-per-task={cpus} "
                                     f"--gpus-per-node={gpus} --cpu-bind=cores", **environment)
                threads = max(1, cpus // 2)  # two hardware threads a core
                mpirun = {**environment, "PLUGIN": ""}
                self.assert_launched(f"-n {ranks} --map-by ppr:{per_node}:node:PE={threads} --bind-to core", **mpirun)

    def test_allocations_that_do_not_fit_are_refused(self):
        for environment, part in (({"SLURM_NTASKS": "5"}, "--ntasks=5 is not a multiple of --nodes=2"),
                                  ({"SLURM_GPUS_PER_NODE": "2", "SLURM_NTASKS_PER_NODE": "3"}, "2 GPU(s)"),
                                  ({"SLURM_NTASKS_PER_NODE": "17"}, "do not fit the 16 CPU(s)"),
                                  ({"SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "8"}, "--cpus-per-task=8"),
                                  ({"JREG_LAUNCHER": "aprun"}, "must be srun or mpirun"),
                                  ({"SLURM_JOB_ID": ""}, "sbatch")):
            with self.subTest(environment=environment):
                code, told, calls = self.start(**environment)
                self.assertEqual((code, len(told.splitlines()), calls), (2, 1, []), told)
                self.assertIn(part, told)

    def test_a_script_that_does_not_find_its_folder_says_so(self):
        for script in sorted(path.name for path in SCRIPTS.glob("*.sh") if path.name != "train.sh"):
            with self.subTest(script=script):
                code, told, _ = self.start(script, JREG_HOME="", SLURM_SUBMIT_DIR=str(self.folder))
                self.assertEqual((code, len(told.splitlines())), (2, 1), told)
                self.assertIn("JREG_HOME", told)

    def test_each_script_trains_its_config_with_the_given_options(self):
        for script in sorted(path.stem for path in SCRIPTS.glob("*_*.sh")):
            kind, size = script.split("_")
            config = f"llama_{size}{'_jreg' if kind == 'jreg' else ''}"
            with self.subTest(script=script):
                code, told, calls = self.start(f"{script}.sh", "--train.steps", "7", JREG_DATA="/d/c")
                self.assertEqual(code, 0, told)
                words = (f"{ROOT}/configs/{config}.cfg --resume auto --run.backend cpu --data.train /d/c_train "
                         "--data.validation /d/c_validation --train.steps 7")
                self.assertTrue(calls[0].endswith(f" train --config {words}"), calls)
                self.assertIn(f"run folder runs/{config},", told)

    def test_with_gpus_the_build_with_cuda_comes_first(self):
        home = self.folder / "home"
        for name in ("slurm", "launch", "configs"):
            shutil.copytree(ROOT / name, home / name)
        for build in ("cpu-release", "cuda-release"):
            program = home / "build" / build / "bin" / "jreg"
            program.parent.mkdir(parents=True)
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
        config = home / "configs" / "llama_1b.cfg"
        for gpus, build in (("0", "cpu-release"), ("4", "cuda-release")):
            result = subprocess.run(["bash", home / "slurm/train.sh", config], capture_output=True, text=True, timeout=60,
                                    check=False, cwd=self.folder, stdin=subprocess.DEVNULL,
                                    env={**JOB, "PATH": f"{self.folder}/bin:/usr/bin:/bin", "SLURM_GPUS_PER_NODE": gpus,
                                         "PLUGIN": "pmix", "CODE": "0", "STATE": "RUNNING", "FIELDS": ""})
            self.assertEqual(result.returncode, 0, result.stderr)
            backend = "cuda" if gpus != "0" else "cpu"
            self.assertIn(f" {home}/build/{build}/bin/jreg train ", (self.folder / "calls").read_text())
            self.assertIn(f"--run.backend {backend}", (self.folder / "calls").read_text())
            (self.folder / "calls").unlink()

    def test_a_config_or_its_options_ask_for_gpus(self):
        config = self.folder / "a.cfg"
        for text, words, wanted in (("", [], False), ("[run]\nbackend = cuda\n", [], True),
                                    ("[run]\nbackend=cuda # all\n[data]\ntrain = x\n", ["--backend=cpu"], False),
                                    ("[model]\nbackend = cuda\n", [], False),
                                    ("", ["--backend", "cpu", "--run.backend", "cuda"], True),
                                    ("", ["--run.backend", "cuda", "--backend", "cpu"], False)):
            with self.subTest(text=text, words=words):
                config.write_text(text)
                command = f'source {ROOT}/launch/common.sh; wants_gpus "$@" && echo yes || echo no'
                result = subprocess.run(["bash", "-c", command, "bash", config, *words], check=True, capture_output=True,
                                        text=True)
                self.assertEqual(result.stdout.strip(), "yes" if wanted else "no")

    def test_what_nccl_is_told_reaches_ranks_of_mpirun(self):
        _, _, calls = self.start(PLUGIN="", NCCL_DEBUG="INFO", UCX_TLS="tcp")
        self.assertIn(" -x NCCL_DEBUG -x UCX_TLS ", calls[0])

    def test_given_data_beats_the_environment(self):
        for words in (("--data.train", "x"), ("--data.sources=x:1",)):
            _, _, calls = self.start("jreg_1b.sh", *words, JREG_DATA="/d/c")
            self.assertNotIn("/d/c", calls[0])

    def test_only_what_another_start_may_mend_is_put_back(self):
        for code in (85, 75, 137, 139, 143, 205):
            _, told, calls = self.start(code=code, SLURM_JOB_ID=str(code))
            self.assertEqual(calls[1], f"scontrol requeue {code}", told)
        for code in (0, 1, 2, 65, 70, 74):
            ended, told, calls = self.start(code=code)
            self.assertEqual((ended, len(calls)), (code, 1), told)

    def test_a_job_that_slurm_ends_is_left_to_slurm(self):
        ended, told, calls = self.start(code=85, STATE="COMPLETING")
        self.assertEqual((ended, len(calls)), (85, 1), told)

    def test_failures_wait_longer_each_time_until_they_are_given_up(self):
        run = self.folder / "run"
        delays = []
        for _ in range(6):
            _, told, calls = self.start("jreg_1b.sh", "--run.dir", run, code=75)
            delays += [line.split("+")[1] for line in calls if "StartTime" in line]
        self.assertEqual(delays, ["60", "120", "240", "480"], told)
        self.assertIn("not put back", told)
        # Another job begins anew; so does one that has made a checkpoint.
        _, _, calls = self.start("jreg_1b.sh", "--run.dir", run, code=75, SLURM_JOB_ID="18")
        self.assertIn("scontrol update JobId=18 StartTime=now+60", calls)

    def test_a_start_that_made_a_checkpoint_is_no_failure(self):
        (self.folder / "bin/srun").write_text('#!/bin/sh\n[ "$*" = --mpi=list ] && echo pmix && exit\n'
                                              "mkdir -p run/checkpoints; date +%N > run/checkpoints/latest; exit 137\n")
        for _ in range(7):
            _, told, calls = self.start("jreg_1b.sh", "--run.dir=run", JREG_RETRIES="2")
            self.assertEqual(calls[0], "scontrol requeue 17", told)

    def test_what_may_not_be_requeued_is_submitted_again(self):
        fields = (f"JobId=17 JobName=mine Account=me QOS=(null) TimeLimit=1-00:00:00 Partition=long Features=(null) "
                  f"ExcNodeList=a9 Command={SCRIPTS}/pair.sh StdOut=/logs/x.log")
        _, told, calls = self.start("pair.sh", "1b", "--run.dir", "two words", code=85, NO_REQUEUE="1", FIELDS=fields,
                                    SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_JOB_ID="16")
        self.assertIn("submitted as a new job", told)
        submitted = calls[-1]
        for word in ("--dependency=afterany:16_1", "--begin=now+0", "--job-name=mine", "--output=/logs/x.log",
                     "--time=1-00:00:00", "--nodes=2", "--gpus-per-node=0", "--account=me", "--partition=long",
                     "--exclude=a9", "--array=1"):
            self.assertIn(f" {word} ", submitted)
        self.assertNotIn("--qos", submitted)
        self.assertTrue(submitted.endswith(f" {SCRIPTS}/pair.sh 1b --run.dir two words"), submitted)

    def test_a_pair_shares_its_options(self):
        trained = []
        for task in ("0", "1"):
            _, _, calls = self.start("pair.sh", "170m", "--run.dir", "r", "--jreg.lambda", "3",
                                     SLURM_ARRAY_JOB_ID="16", SLURM_ARRAY_TASK_ID=task)
            trained.append(calls[0].split("/configs/")[1])
        self.assertRegex(trained[0], r"^llama_170m.cfg .* --jreg.lambda 3 --jreg.lambda 0 --run.dir r/baseline$")
        self.assertRegex(trained[1], r"^llama_170m_jreg.cfg .* --jreg.lambda 3 --run.dir r/jreg$")

    def test_a_signal_during_the_preflight_puts_the_job_back_at_once(self):
        (self.folder / "bin/jreg").write_text("#!/bin/sh\necho --preflight\n")
        (self.folder / "bin/srun").write_text('#!/bin/sh\n[ "$*" = --mpi=list ] && echo pmix && exit\n'
                                              'echo "srun $*" >> calls; kill -USR1 $PPID; sleep 0.2\n')
        code, told, calls = self.start()
        self.assertEqual((code, len(calls), calls[-1]), (85, 2, "scontrol requeue 17"), told)

    def test_the_preflight_comes_first_and_its_failure_ends_the_job(self):
        (self.folder / "bin/jreg").write_text("#!/bin/sh\necho --preflight\n")
        _, _, calls = self.start()
        self.assertEqual([call.endswith(" --preflight") for call in calls], [True, False])
        code, told, calls = self.start(code=2)
        self.assertEqual((code, len(calls)), (2, 1), told)


if __name__ == "__main__":
    unittest.main()
