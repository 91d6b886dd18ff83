"""tools/check_layers.py finds each kind of violation in a small tree, and nothing in a clean one."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import check_layers  # noqa: E402


class CheckLayers(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.src = pathlib.Path(self.folder.name)
        self.write("base/error.h", "namespace jreg {\n}\n")
        self.write("mesh/mesh.h", '#include "base/error.h"\n#include "mpi/session.h"\nnamespace jreg::mesh {\n}\n')
        self.write("main.cpp", '#include "train/trainer.h"\nint main() {}\n')

    def write(self, path, text):
        file = self.src / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def assert_violation(self, *parts):
        violations = list(check_layers.check_tree(self.src))
        self.assertEqual(len(violations), 1, violations)
        for part in parts:
            self.assertIn(part, violations[0])

    def test_accepts_a_clean_tree(self):
        self.assertEqual(list(check_layers.check_tree(self.src)), [])

    def test_refuses_an_include_from_a_higher_layer(self):
        self.write("data/x.cpp", '#include "model/llama.h"\nnamespace jreg::data {\n}\n')
        self.assert_violation("data/x.cpp:1:", "model/llama.h")

    def test_refuses_an_include_from_another_folder_of_the_same_layer(self):
        self.write("jump/x.cpp", '\n#include "optim/adamw.h"\nnamespace jreg::jump {\n}\n')
        self.assert_violation("jump/x.cpp:2:", "optim/adamw.h")

    def test_refuses_an_include_without_a_folder(self):
        self.write("jump/x.cpp", '#include "penalty.h"\nnamespace jreg::jump {\n}\n')
        self.assert_violation("jump/x.cpp:1:", "penalty.h")

    def test_refuses_a_folder_without_a_layer(self):
        self.write("misc/x.cpp", "namespace jreg::misc {\n}\n")
        self.assert_violation("misc/")

    def test_refuses_a_cuda_header_outside_its_folder(self):
        self.write("backend/cuda/x.cpp", "#include <cuda_runtime.h>\nnamespace jreg::backend {\n}\n")
        self.assertEqual(list(check_layers.check_tree(self.src)), [])
        self.write("backend/y.cpp", "#include <nccl.h>\nnamespace jreg::backend {\n}\n")
        self.assert_violation("backend/y.cpp:1:", "nccl.h")

    def test_refuses_a_second_file_that_asks_for_cuda(self):
        self.write("backend/x.cpp", "#if JREG_WITH_CUDA\n#endif\nnamespace jreg::backend {\n}\n")
        self.assertEqual(list(check_layers.check_tree(self.src)), [])
        self.write("train/y.cpp", "#ifdef JREG_WITH_CUDA\n#endif\nnamespace jreg::train {\n}\n")
        self.assert_violation("backend/x.cpp, train/y.cpp")

    def test_refuses_a_long_file_without_a_reason(self):
        text = "namespace jreg::store {\n" + "\n" * check_layers.MAX_LINES + "}\n"
        self.write("store/x.cpp", text)
        self.assert_violation("store/x.cpp", "402 lines")
        self.write("store/x.cpp", "// Long because: one table.\n" + text)
        self.assertEqual(list(check_layers.check_tree(self.src)), [])

    def test_refuses_another_folders_namespace(self):
        self.write("store/x.cpp", "namespace jreg::train {\n}\n")
        self.assert_violation("store/x.cpp", "jreg::store")

    def test_refuses_a_tree_without_sources(self):
        with tempfile.TemporaryDirectory() as empty:
            self.assertEqual(len(list(check_layers.check_tree(pathlib.Path(empty)))), 1)


if __name__ == "__main__":
    unittest.main()
