"""The scripts of slurm/ under a real Slurm (slurm_cluster.py), on processors: ends, restarts, failing nodes and ranks.

Cases take their time waiting; so all begin at once, each on nodes of its own, and the tests look at how they ended.
"""
import concurrent.futures
import contextlib
import os
import pathlib
import platform
import re
import signal
import sys
import tempfile
import time
import unittest

import h5py

import slurm_cluster
import support

SCRIPTS = support.ROOT / "slurm"
UPDATES = 600
TINY = {**support.TINY, "train.steps": UPDATES, "run.precision": "fp32", "train.micro_batch": 0, "mesh.zero1": False,
        "jreg.warmup_steps": 0, "log.interval": 10, "eval.interval": 200, "checkpoint.interval": 100}
# One rank of one thread on each of two nodes that believe to have GPUs as well.
ON_PROCESSORS = ("--nodes=2", "--gpus-per-node=0", "--ntasks-per-node=1", "--cpus-per-task=1")
GPUS = 4


def pending(pid, number):
    """Whether a stopped process has this signal waiting, or is gone."""
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return bool(int(re.search(r"^ShdPnd:\s*(\w+)", status, re.MULTILINE).group(1), 16) >> (number - 1) & 1)
    return True


@contextlib.contextmanager
def stopped(processes):
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Cases:
    """What is tried. Each method returns what a test looks at; they run at the same time."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder

    def submit(self, name, *words, script="jreg_1b.sh", run=None, changes=(), cwd=None, **environment):
        """A job that trains in the run folder `run` (its name, if not given). `words`: more options of sbatch."""
        options = {**TINY, "run.dir": self.folder / (run or name), **dict(changes)}
        environment = {"JREG_HOME": str(support.ROOT), "JREG_DELAY": "2", **environment}
        return self.cluster.submit(name, *ON_PROCESSORS, f"--chdir={self.folder}", *words, SCRIPTS / script,
                                   *support.arguments_of(options), JREG_DATA=str(self.folder / "data/corpus"),
                                   cwd=cwd, **environment)

    def whole(self):
        """Submitted from the project's folder."""
        job = self.submit("whole", JREG_HOME="", cwd=support.ROOT)
        return job, job.wait_for_end()

    def time_limit(self):
        """The shortest limit there is. Slurm looks at times twice a minute: the ranks stand still until it has."""
        job = self.submit("time_limit", "--time=1", "--signal=USR1@57")
        job.wait_for_text("step=50 ")
        tasks = job.tasks()
        with stopped(tasks.values()):
            job.wait(lambda: all(pending(pid, signal.SIGUSR1) for pid in tasks.values()), "SIGUSR1")
        return job, job.wait_for_end()

    def cancelled(self):
        job = self.submit("cancelled", changes={"train.steps": 1_000_000})
        job.wait_for_text("step=50 ")
        self.cluster.run("scancel", job.number)
        end = job.wait_for_end()
        job.wait_for_text("Slurm is ending this job")
        time.sleep(slurm_cluster.REQUEUE_DELAY + 3)
        return job, end, job.state()

    def dead_node(self, name, which):
        job = self.submit(name)
        job.wait_for_text("step=150 ")
        with stopped(job.tasks().values()):
            before, died = job.hosts(), time.monotonic()
            self.cluster.kill_node(before[which])
        job.wait(lambda: job.fields()["Restarts"] == "1", "a restart")
        noticed = time.monotonic() - died
        job.wait(lambda: job.state() == "RUNNING", "its second start")
        after, started = job.hosts(), time.monotonic() - died
        return job, job.wait_for_end(), before[which], after, (noticed, started)

    def dead_batch_node(self):
        return self.dead_node("dead_batch_node", 0)

    def dead_other_node(self):
        return self.dead_node("dead_other_node", 1)

    def killed_rank(self):
        job = self.submit("killed_rank")
        job.wait_for_text("step=150 ")
        died = time.monotonic()
        os.kill(job.tasks()[1], signal.SIGKILL)
        job.wait_for_text("back into the queue")
        noticed = time.monotonic() - died
        job.wait_for_text("start 2 on ")
        return job, job.wait_for_end(), (noticed, time.monotonic() - died)

    def folder_in_use(self):
        first = self.submit("holder", run="shared", changes={"train.steps": 1_000_000})
        first.wait_for_text("step=50 ")
        holder = first.tasks()[0]
        second = self.submit("intruder", run="shared")
        end = second.wait_for_end()
        self.cluster.run("scancel", first.number)
        return first, holder, second, end

    def without_pmix(self):
        """As on a Slurm that was built without; SIGUSR1 then comes from the script."""
        shim = self.folder / "shim"
        shim.mkdir()
        (shim / "srun").write_text(f"#!/bin/sh\n[ \"$*\" = --mpi=list ] && echo 'none pmi2' && exit\n"
                                   f"exec {self.cluster.path_of('srun')} \"$@\"\n")
        (shim / "srun").chmod(0o755)
        job = self.submit("without_pmix", "--time=1", JREG_WARNING="40", OMPI_MCA_odls_base_sigkill_timeout="3",
                          PATH=f"{shim}:{self.cluster.environment['PATH']}")
        job.wait_for_text("step=50 ")
        tasks = job.tasks("OMPI_COMM_WORLD_RANK")
        with stopped(tasks.values()):
            job.wait(lambda: all(pending(pid, signal.SIGUSR1) for pid in tasks.values()), "SIGUSR1")
        return job, job.wait_for_end()

    def not_to_be_requeued(self):
        job = self.submit("not_requeued", "--no-requeue")
        job.wait_for_text("step=50 ")
        self.cluster.run("scancel", "--signal=USR1", job.number)
        end = job.wait_for_end()
        number = re.search(r"Submitted batch job (\d+)", job.text()).group(1)
        return job, end, slurm_cluster.Job(self.cluster, number, job.log).wait_for_end()

    def as_it_stands(self):
        """On GPUs, with nothing but the data's path given."""
        job = self.cluster.submit("as_it_stands", f"--chdir={self.folder}", SCRIPTS / "jreg_1b.sh",
                                  JREG_HOME=str(support.ROOT), JREG_DATA=str(self.folder / "data/corpus"))
        return job, job.wait_for_end()

    def program(self, name, *lines):
        """In the place of jreg."""
        path = self.folder / name
        path.write_text("\n".join(["#!/bin/sh", "[ \"$2\" = --help ] && exit", *lines, ""]))
        path.chmod(0o755)
        return {"JREG": str(path)}

    def places(self):
        tell = self.program("places", 'echo "task $SLURMD_NODENAME $SLURM_LOCALID: gpus $CUDA_VISIBLE_DEVICES, $*"')
        job = self.submit("places", "--gpus-per-node=1", "--ntasks-per-node=3", **tell)
        return job, job.wait_for_end()

    def always_failing(self):
        job = self.submit("always_failing", JREG_RETRIES="2", **self.program("failing", "exit 75"))
        return job, job.wait_for_end()

    def pair(self):
        """Of which the array's last task is put back into the queue once."""
        words = ["1b", *support.arguments_of({**TINY, "run.dir": self.folder / "pair"})]
        array = self.cluster.submit("pair_%a", *ON_PROCESSORS, f"--chdir={self.folder}", SCRIPTS / "pair.sh", *words,
                                    JREG_HOME=str(support.ROOT), JREG_DATA=str(self.folder / "data/corpus"))
        jobs = [slurm_cluster.Job(self.cluster, f"{array.number}_{i}", array.log.with_name(f"pair_{i}.log"))
                for i in (0, 1)]
        jobs[1].wait_for_text("step=50 ")
        self.cluster.run("scancel", "--signal=USR1", jobs[1].number)
        return jobs, [job.wait_for_end() for job in jobs]

    def tasks_without_mpi(self):
        begun = time.monotonic()
        result = self.cluster.call("srun", "--mpi=none", "--nodes=2", "--ntasks=2", support.JREG, "train",
                                   *self.options("none"))
        return result, time.monotonic() - begun

    def one_process(self):
        return [self.cluster.call(*words, support.JREG, "train", *self.options(words[0]))
                for words in (("salloc", "--nodes=1", "--ntasks=2"), ("srun", "--mpi=none", "--ntasks=1"))]

    def options(self, run):
        return support.arguments_of({**TINY, "train.steps": 2, "run.dir": self.folder / run,
                                     "data.train": self.folder / "data/corpus_train"})


CASES = [name for name, value in vars(Cases).items()
         if callable(value) and not name.startswith("_")
         and name not in ("submit", "dead_node", "program", "options")]


class Slurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="jreg_slurm_")
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        (cls.folder / "data").mkdir()
        support.write_tokens(cls.folder / "data/corpus_train", support.sample_documents(1, 120))
        support.write_tokens(cls.folder / "data/corpus_validation", support.sample_documents(2, 60))
        (cls.folder / "slurm").mkdir()
        cls.cluster = slurm_cluster.Cluster(cls.folder / "slurm", nodes=36, cpus=4, gpus=GPUS)
        cls.cluster.start()
        cls.addClassCleanup(cls.cluster.stop)
        cases = Cases(cls.cluster, cls.folder)
        pool = concurrent.futures.ThreadPoolExecutor(len(CASES))
        cls.addClassCleanup(pool.shutdown)
        cls.outcomes = {name: pool.submit(getattr(cases, name)) for name in CASES}

    def outcome(self, name):
        return self.outcomes[name].result()

    def assert_same_as_undisturbed(self, run):
        self.outcome("whole")
        self.assertEqual(support.differences_of_runs(self.folder / run, self.folder / "whole"), [])

    def assert_restarted_and_done(self, job, end, run):
        state, code, restarts = end
        self.assertEqual((state, code), ("COMPLETED", 0), job.story())
        self.assertGreaterEqual(restarts, 1)
        self.assertIn("start 2 on ", job.story())
        self.assert_same_as_undisturbed(run)

    def test_a_job_trains_to_the_end(self):
        job, end = self.outcome("whole")
        self.assertEqual(end, ("COMPLETED", 0, 0), job.story())
        self.assertIn("2 node(s) x 1 rank(s) x 1 thread(s), 0 GPU(s) per node, by srun", job.story())
        steps = support.read_columns(self.folder / "whole")["train/step"].tolist()
        self.assertEqual(steps, list(range(1, UPDATES + 1)))
        self.assertEqual(support.differences_of_runs(self.folder / "whole", self.reference()), [])

    def reference(self):
        """The same run under mpirun, without Slurm."""
        test = support.ProgramTest()
        test.folder, test.data = self.folder, self.folder / "data"
        changes = {name.replace(".", "__"): value for name, value in TINY.items()}
        return test.train("reference", "--config", str(support.ROOT / "configs/llama_1b_jreg.cfg"), ranks=2,
                          data__train=self.folder / "data/corpus_train",
                          data__validation=self.folder / "data/corpus_validation", **changes)

    def test_at_the_time_limit_a_job_saves_and_goes_back_into_the_queue(self):
        job, end = self.outcome("time_limit")
        self.assertIn("exit code 85, newest checkpoint: step_", job.story())
        self.assert_restarted_and_done(job, end, "time_limit")

    def test_scancel_ends_a_job_with_a_checkpoint_and_for_good(self):
        job, (state, _, restarts), later = self.outcome("cancelled")
        self.assertEqual((state, restarts, later), ("CANCELLED", 0, "CANCELLED"), job.story())
        newest = (self.folder / "cancelled/checkpoints/latest").read_text().strip()
        last = support.read_columns(self.folder / "cancelled")["train/step"][-1]
        self.assertEqual(newest, f"step_{last:08}", job.story())
        self.assertNotIn("back into the queue", job.story())

    def test_a_dead_node_starts_the_job_again_on_others(self):
        for name in ("dead_batch_node", "dead_other_node"):
            with self.subTest(case=name):
                job, end, dead, after, (noticed, started) = self.outcome(name)
                print(f"{name}: requeued after {noticed:.0f} s, started after {started:.0f} s", file=sys.stderr)
                self.assertNotIn(dead, after)
                self.assert_restarted_and_done(job, end, name)

    def test_a_killed_rank_starts_the_job_again_later(self):
        job, end, (noticed, started) = self.outcome("killed_rank")
        print(f"killed_rank: requeued after {noticed:.0f} s, started after {started:.0f} s", file=sys.stderr)
        self.assertRegex(job.text(), r"exit code (137|75|143), newest checkpoint: step_00000\d00, .* in 2 s or later")
        self.assert_restarted_and_done(job, end, "killed_rank")

    def test_a_folder_in_use_is_refused_and_its_user_named(self):
        first, holder, second, end = self.outcome("folder_in_use")
        self.assertEqual(end, ("FAILED", 2, 0), second.story())
        self.assertIn(f"in use by process {holder} on host {platform.node()}, job {first.number}", second.story())
        self.assertNotIn("back into the queue", second.story())

    def test_without_pmix_mpirun_starts_the_ranks(self):
        job, end = self.outcome("without_pmix")
        self.assertIn("mpirun, not srun, starts the ranks: this Slurm has no PMIx", job.story())
        self.assertIn("exit code 85, newest checkpoint: step_", job.story())
        self.assert_restarted_and_done(job, end, "without_pmix")

    def test_where_requeue_is_not_permitted_a_new_job_follows(self):
        job, first, second = self.outcome("not_to_be_requeued")
        self.assertEqual(first, ("FAILED", 85, 0), job.story())
        self.assertIn("requeue is not permitted: submitted as a new job", job.story())
        self.assertEqual(second, ("COMPLETED", 0, 0), job.story())
        self.assert_same_as_undisturbed("not_requeued")

    def test_gpus_that_the_program_cannot_use_end_the_job_at_once(self):
        job, end = self.outcome("as_it_stands")
        self.assertIn(f"2 node(s) x {GPUS} rank(s) x 1 thread(s), {GPUS} GPU(s) per node", job.story())
        self.assertEqual(end, ("FAILED", 2, 0), job.story())
        self.assertEqual(job.text().count("built without CUDA"), 1, job.story())

    def test_every_rank_sees_all_gpus_of_its_node(self):
        job, end = self.outcome("places")
        self.assertEqual(end, ("COMPLETED", 0, 0), job.story())
        told = re.findall(r"^task (\w+) (\d): gpus ([\d,]*), (train .*)", job.text(), re.MULTILINE)
        self.assertEqual(len({(node, rank) for node, rank, _, _ in told}), 6, job.story())
        for _, _, gpus, words in told:
            self.assertEqual(gpus, ",".join(map(str, range(GPUS))))
            self.assertIn(f"--run.backend cuda --data.train {self.folder}/data/corpus_train ", words)

    def test_a_job_that_always_fails_is_given_up(self):
        job, end = self.outcome("always_failing")
        self.assertEqual(end, ("FAILED", 75, 1), job.story())
        self.assertIn("2 starts in a row made no new checkpoint: not put back into the queue", job.story())

    def test_a_pair_differs_in_the_penalty_alone(self):
        jobs, ends = self.outcome("pair")
        self.assertEqual(ends[0], ("COMPLETED", 0, 0), jobs[0].story())
        # Once, or again where scancel's signal came again: for no other reason.
        self.assertEqual(jobs[1].text().count("exit code 85, newest checkpoint: step_"), ends[1][2], jobs[1].story())
        self.assert_restarted_and_done(jobs[1], ends[1], "pair/jreg")
        configs = []
        for name in ("baseline", "jreg"):
            with h5py.File(self.folder / "pair" / name / "dynamics.h5", "r") as file:
                configs.append({key: str(value) for key, value in file.attrs.items() if "." in key})
        different = {key for key in configs[0] | configs[1] if configs[0].get(key) != configs[1].get(key)}
        self.assertEqual(different - {"run.dir"}, {"jreg.lambda"})
        self.assertEqual(float(configs[0]["jreg.lambda"]), 0)

    def test_tasks_that_mpi_does_not_join_are_refused(self):
        result, seconds = self.outcome("tasks_without_mpi")
        errors = [line for line in result.stderr.splitlines() if "jreg: error" in line]
        self.assertEqual((result.returncode, len(errors)), (2, 1), result.stderr)
        self.assertIn(f"rank 0 of 2 on host {platform.node()}", errors[0])
        self.assertIn("--mpi=pmix", errors[0])
        print(f"tasks_without_mpi: refused after {seconds:.0f} s", file=sys.stderr)
        self.assertLess(seconds, 30)  # 10 on a machine that does nothing else
        self.assertFalse((self.folder / "none").exists())

    def test_one_process_alone_may_train_in_an_allocation_and_as_a_task(self):
        for result in self.outcome("one_process"):
            self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    absent = slurm_cluster.missing_programs()
    if absent or os.geteuid() != 0:
        print(f"skipped: {', '.join(absent)} not installed" if absent else "skipped: Slurm's daemons need root")
        sys.exit(1 if absent and os.environ.get("CI") == "true" else 77)
    support.main()
