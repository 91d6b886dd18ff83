"""Help, and what is refused before training begins: one line, the right exit code, nothing left behind."""
import os
import signal
import subprocess
import time
import unittest.mock

import support


class Help(support.ProgramTest):
    def test_every_command_explains_itself(self):
        overview = self.jreg("--help").stdout
        for command in ("tokenize", "train", "plan", "eval", "analyze", "export", "import", "info", "verify"):
            self.assertIn(command, overview)
            text = self.jreg(command, "--help").stdout
            self.assertIn(command, text)
            self.assertGreater(len(text.splitlines()), 3)

    def test_help_of_train_holds_every_option_with_its_default(self):
        text = self.jreg("train", "--help").stdout
        for name in list(support.TINY) + ["run.dir", "mesh.tensor", "mesh.zero1", "jreg.lambda", "model.rope_scaling.type",
                                          "config", "resume", "stop-at", "benchmark", "profile-steps"]:
            self.assertIn(f"--{name}", text)

    def test_no_command_and_an_unknown_command_are_refused(self):
        self.jreg(check=2)
        self.assert_refused(self.jreg("trian", check=2), "trian")


class Refusals(support.ProgramTest):
    def assert_nothing_left(self):
        self.assertEqual([path.name for path in self.folder.iterdir()], ["data"])

    def test_unknown_option_suggests_the_nearest(self):
        self.assert_refused(self.train("run", "--train.step", "3", check=2), "train.step", "train.steps")
        self.assert_nothing_left()

    def test_unknown_key_in_a_config_names_file_and_suggestion(self):
        config = self.data / "a.cfg"
        config.write_text("[optim]\nlearning_rat = 1e-3\n")
        self.assert_refused(self.jreg("train", "--config", config, check=2), str(config), "optim.learning_rat",
                            "optim.learning_rate")

    def test_values_that_no_option_takes(self):
        for name, value in (("train.steps", "-1"), ("train.steps", "1.5"), ("optim.learning_rate", "nan"),
                            ("optim.learning_rate", "-1e-3"), ("jreg.lambda", "inf"), ("mesh.zero1", "yes"),
                            ("jreg.penalty", "jumps"), ("jreg.weights", "cubic"), ("run.backend", "tpu"),
                            ("run.collective", "gloo")):
            with self.subTest(option=name, value=value):
                self.assert_refused(self.train("run", f"--{name}={value}", check=2), name, value)
        self.assert_nothing_left()

    def test_profiled_steps_need_a_profiler(self):
        self.assert_refused(self.train("run", "--profile-steps", "1:2", check=2), "--profile-steps 1:2", "cuda")
        self.assert_refused(self.train("run", "--profile-steps", "2:1", check=2), "--profile-steps 2:1")
        self.assert_nothing_left()

    def test_a_missing_config_is_named(self):
        self.assert_refused(self.jreg("train", "--config", "nowhere.cfg", check=2), "nowhere.cfg")

    def test_missing_tokens_are_named(self):
        self.assert_refused(self.train("run", data__train="nowhere/train", check=2), "nowhere/train")
        self.assert_nothing_left()

    def test_training_without_data_names_the_option(self):
        self.assert_refused(self.train("run", data__train="", check=2), "data.train")

    def test_sizes_that_do_not_divide_name_both_keys(self):
        self.assert_refused(self.train("run", model__hidden=33, check=2), "model.hidden = 33", "model.heads = 4")
        self.assert_refused(self.train("run", model__kv_heads=3, check=2), "model.heads = 4", "model.kv_heads = 3")
        self.assert_refused(self.train("run", model__head_size=7, check=2), "model.head_size = 7")
        self.assert_refused(self.train("run", model__ffn=47, mesh__tensor=2, ranks=2, check=2), "model.ffn = 47",
                            "mesh.tensor = 2")
        self.assert_refused(self.train("run", mesh__tensor=3, ranks=2, check=2), "mesh.tensor = 3")
        self.assert_refused(self.train("run", train__micro_batch=3, check=2), "train.global_batch = 8",
                            "train.micro_batch = 3")
        self.assert_nothing_left()

    def test_more_data_ranks_than_sequences_are_refused_once(self):
        self.assert_refused(self.train("run", train__global_batch=2, ranks=4, check=2), "train.global_batch = 2")
        self.assert_nothing_left()

    def test_one_layer_has_no_jump(self):
        self.assert_refused(self.train("run", model__layers=1, check=2), "model.layers = 1")

    def test_cuda_says_how_to_build_it(self):
        with unittest.mock.patch.dict(os.environ, JREG_EMULATED_GPUS="0"):  # nor has the software device one
            self.assert_refused(self.train("run", "--backend", "cuda", check=2), "cuda")
        self.assert_nothing_left()

    def test_a_token_beyond_the_vocabulary_is_named_by_file_and_place(self):
        documents = support.sample_documents(3, 10)
        documents[4][5] = support.VOCAB
        support.write_tokens(self.data / "bad", documents)
        result = self.train("run", data__train=self.data / "bad", check=65)
        self.assert_error(result, "bad.bin", str(support.VOCAB))

    def test_a_truncated_shard_is_named(self):
        path = self.data / "train.bin"
        os.truncate(path, path.stat().st_size - 2)
        self.assert_refused(self.train("run", check=65), "train.")

    def test_a_damaged_index_is_named(self):
        path = self.data / "train.idx"
        for content in (b"", path.read_bytes()[:40], b"X" + path.read_bytes()[1:]):
            with self.subTest(size=len(content)):
                path.write_bytes(content)
                self.assert_refused(self.train("run", check=65), "train.idx")

    def test_a_run_folder_that_cannot_be_made_is_named(self):
        (self.folder / "data" / "file").write_text("")
        result = self.train("data/file/run", check=None)
        self.assertIn(result.returncode, (2, 74))
        self.assert_refused(result, "data/file")

    def test_info_and_verify_name_what_is_not_there(self):
        for command in ("info", "verify"):
            result = self.jreg(command, self.folder / "nowhere", check=2)
            self.assert_refused(result, "nowhere")


class FolderInUse(support.ProgramTest):
    def test_a_second_job_in_one_run_folder_names_the_first(self):
        command = [support.JREG, "train", *self.options("run", train__steps=1000000)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
            try:
                deadline = time.monotonic() + 30
                while not (self.folder / "run" / "dynamics.h5").exists() and time.monotonic() < deadline:
                    time.sleep(0.05)
                result = self.train("run", check=2)
                self.assert_refused(result, str(first.pid))
            finally:
                first.send_signal(signal.SIGKILL)

    def test_a_run_with_checkpoints_is_not_overwritten(self):
        self.train("run", train__steps=2)
        result = self.train("run", train__steps=2, check=2)
        self.assert_refused(result, "run", "--resume")


if __name__ == "__main__":
    support.main()
