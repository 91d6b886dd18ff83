"""Every file of configs/ is accepted by the program: keys, values, and the rules across keys."""
import configparser
import re

import support

CONFIGS = sorted((support.ROOT / "configs").glob("*.cfg"))


class Configs(support.ProgramTest):
    def test_there_is_a_baseline_and_a_jreg_config_of_each_size(self):
        names = {path.stem for path in CONFIGS}
        for size in ("llama_170m", "llama_1b", "llama_3b"):
            self.assertLessEqual({size, f"{size}_jreg"}, names)
        self.assertIn("quickstart", names)

    def test_every_key_is_an_option_of_train(self):
        known = set(re.findall(r"--([\w.-]+)", self.jreg("train", "--help").stdout))
        for path in CONFIGS:
            parser = configparser.ConfigParser()
            parser.read(path)
            keys = {f"{section}.{key}" for section in parser.sections() for key in parser[section]}
            self.assertLessEqual(keys, known, path.name)

    def test_every_config_passes_validation(self):
        for path in CONFIGS:
            with self.subTest(config=path.name):
                # The first thing wrong with it is that these tokens do not exist.
                result = self.jreg("train", "--config", path, "--data.train", "nowhere/tokens", "--mesh.tensor", 1,
                                   "--run.dir", self.folder / "run", check=2)
                self.assert_refused(result, "nowhere/tokens")

    def test_jreg_and_baseline_differ_only_in_the_penalty(self):
        for path in CONFIGS:
            if not path.stem.endswith("_jreg"):
                continue
            pair = []
            for file in (path, path.with_name(path.name.replace("_jreg", ""))):
                parser = configparser.ConfigParser()
                parser.read(file)
                pair.append({(section, key): parser[section][key] for section in parser.sections()
                             for key in parser[section] if section != "jreg" and (section, key) != ("run", "dir")})
            self.assertEqual(*pair)


if __name__ == "__main__":
    support.main()
