"""tools/packaging: what can be told of recipes and images without the tools that build them.

Called with the program that was built and PROJECT_VERSION. docs/packaging.md tells what each recipe was tried with.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import types
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "tools" / "packaging"
PROGRAM, VERSION = "", ""

# What CMakeLists.txt finds, under the names of each collection of recipes.
LIBRARIES = {
    "MPI": ("mpi", None), "HDF5": ("hdf5", "HDF5"), "Boost": ("boost", "Boost"), "fmt": ("fmt", "fmt"),
    "nlohmann_json": ("nlohmann-json", "nlohmann_json"), "PkgConfig": ("pkgconfig", "pkgconf"),
    "OneDNN": ("onednn", "oneDNN"), "SentencePiece": ("sentencepiece", "SentencePiece"), "xxhash": ("xxhash", "xxHash"),
    "OpenMP": (None, None),  # the compiler's own
    "CUDAToolkit": ("cuda", "CUDA"), "NCCL": ("nccl", "NCCL"),  # with JREG_WITH_CUDA alone
}
WITH_CUDA = {"CUDAToolkit", "NCCL"}


def found_by_cmake():
    """Libraries that the build asks for."""
    text = "".join((ROOT / folder / "CMakeLists.txt").read_text() for folder in (".", "src/backend/cuda"))
    return set(re.findall(r"find_package\((\w+)", text)) | set(re.findall(r"pkg_check_modules\((\w+)", text))


def run_easyconfig(path):
    values = {"SYSTEM": {"name": "system", "version": "system"}}
    exec(compile(path.read_text(), str(path), "exec"), values)  # an easyconfig is Python that sets names
    return values


class Recipes(unittest.TestCase):
    def test_the_table_of_libraries_is_that_of_the_build(self):
        wanted = set(LIBRARIES)
        if not (ROOT / "cmake" / "FindNCCL.cmake").exists():
            wanted.discard("NCCL")
        self.assertEqual(found_by_cmake(), wanted)

    def spack_recipe(self):
        """The recipe's class, and its directives: run with stand-ins for Spack's directives that write down what they are called with."""
        calls = []
        package = types.ModuleType("spack.package")
        names = ("license", "version", "depends_on", "conflicts", "generator", "variant")
        for name in names:
            setattr(package, name, lambda *words, directive=name, **more: calls.append((directive, words, more)))
        package.__all__ = list(names)

        class CMakePackage:
            run_tests = False

            def __init__(self, variants):
                chosen = {name: types.SimpleNamespace(value=value) for name, value in variants.items()}
                self.spec = types.SimpleNamespace(variants=chosen,
                                                  satisfies=lambda text: variants[text.removeprefix("+")])

            @staticmethod
            def define(name, value):
                return f"-D{name}={';'.join(value) if isinstance(value, tuple) else 'ON' if value else 'OFF'}"

            def define_from_variant(self, name, variant):
                return self.define(name, self.spec.variants[variant].value)

        cmake = types.ModuleType("spack_repo.builtin.build_systems.cmake")
        cmake.CMakePackage = CMakePackage
        cuda = types.ModuleType("spack_repo.builtin.build_systems.cuda")
        cuda.CudaPackage = type("CudaPackage", (), {})
        modules = {"spack": types.ModuleType("spack"), "spack.package": package, cmake.__name__: cmake,
                   cuda.__name__: cuda}
        for part in ("spack_repo", "spack_repo.builtin", "spack_repo.builtin.build_systems"):
            modules[part] = types.ModuleType(part)
        path = PACKAGING / "spack" / "packages" / "jreg" / "package.py"
        values = {}
        with unittest.mock.patch.dict(sys.modules, modules):
            exec(compile(path.read_text(), str(path), "exec"), values)
        return values["Jreg"], calls

    def test_spack_recipe(self):
        recipe, calls = self.spack_recipe()
        self.assertEqual([words for name, words, _ in calls if name == "version"], [(VERSION,)])
        needed = {re.match(r"[\w-]+", words[0])[0]: more.get("when")
                  for name, words, more in calls if name == "depends_on"}
        self.assertLessEqual({name for name, _ in LIBRARIES.values() if name}, set(needed))
        for library, (name, _) in LIBRARIES.items():
            if name:
                self.assertEqual(needed[name], "+cuda" if library in WITH_CUDA else None)
        for variants, wanted in (({"cuda": False, "cuda_arch": ("none",)}, ["-DJREG_WITH_CUDA=OFF"]),
                                 ({"cuda": True, "cuda_arch": ("80", "90")},
                                  ["-DJREG_WITH_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=80;90"])):
            arguments = recipe(variants).cmake_args()
            self.assertEqual(arguments[1:], wanted)
            self.assert_options(arguments)

    def assert_options(self, arguments):
        options = [*re.findall(r"option\((\w+)", (ROOT / "CMakeLists.txt").read_text()), "CMAKE_CUDA_ARCHITECTURES"]
        for argument in arguments:
            self.assertIn(re.match(r"-D(\w+)", argument)[1], options)

    def test_easybuild_recipe(self):
        recipes = {path.name: run_easyconfig(path) for path in sorted((PACKAGING / "easybuild").glob("*.eb"))}
        for suffix, without in (("", WITH_CUDA), ("-CUDA-12.4.0", set())):
            own = recipes[f"jreg-{VERSION}-gompi-2023b{suffix}.eb"]
            self.assertEqual(own["version"], VERSION)
            needed = {words[0]: words[1] for words in own["dependencies"] + own["builddependencies"]}
            wanted = {name for library, (_, name) in LIBRARIES.items() if name and library not in without}
            self.assertLessEqual(wanted, set(needed))
            self.assertEqual("CUDA" in needed, "-DJREG_WITH_CUDA=ON" in own["configopts"])
            self.assert_options(re.findall(r"-D\w+", own["configopts"]))
        for name, values in recipes.items():  # the name of the file is what EasyBuild finds it by
            toolchain = values["toolchain"]
            suffix = values.get("versionsuffix", "").replace("%(cudaver)s", dict(
                words[:2] for words in values["dependencies"]).get("CUDA", "") if "dependencies" in values else "")
            self.assertEqual(name, f"{values['name']}-{values['version']}-{toolchain['name']}-{toolchain['version']}"
                                   f"{suffix}.eb")
            if values["name"] != "jreg":
                self.assertIn((values["name"], values["version"]), own["dependencies"])

    def test_module_is_lua(self):
        lua = next((name for name in ("luac5.3", "luac", "lua5.3", "lua") if shutil.which(name)), None)
        if lua is None:
            self.skipTest("no Lua here")
        path = str(PACKAGING / "modulefiles" / "jreg.lua")
        command = [lua, "-p", path] if lua.startswith("luac") else [lua, "-e", f"assert(loadfile('{path}'))"]
        subprocess.run(command, check=True)


def instructions(text):
    """(name, rest) of a Dockerfile, lines that go on joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", lines).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name, rest.strip()


class Images(unittest.TestCase):
    def check_script(self, script):
        """A shell understands it, and the files of the source tree that it calls are there."""
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        for path in re.findall(r"(?<![\w/.])((?:tools|launch)/[\w/.]+)", script):
            self.assertTrue((ROOT / path).exists(), path)
        for preset in re.findall(r"--preset (\S+)", script):
            self.assertIn(f'"name": "{preset}"', (ROOT / "CMakePresets.json").read_text())

    def test_dockerfiles(self):
        for name in ("Dockerfile", "Dockerfile.cuda"):
            with self.subTest(name=name):
                self.check_dockerfile(PACKAGING / name)
                self.assertEqual((PACKAGING / f"{name}.dockerignore").read_text(),
                                 (PACKAGING / "Dockerfile.dockerignore").read_text())

    def check_dockerfile(self, path):
        known = {"FROM", "COPY", "WORKDIR", "RUN", "ENV", "USER", "CMD"}
        stages = set()
        for name, rest in instructions(path.read_text()):
            self.assertIn(name, known)
            if name == "RUN":
                self.check_script(rest)
            if name == "FROM" and " AS " in rest:
                stages.add(rest.split(" AS ")[1])
            if name == "COPY" and (stage := re.match(r"--from=(\S+)", rest)):
                self.assertIn(stage[1], stages)

    def test_runtime_packages_hold_every_library_that_the_program_links(self):
        release = pathlib.Path("/etc/os-release").read_text()
        if "VERSION_CODENAME=bookworm" not in release or not shutil.which("dpkg-query"):
            self.skipTest("this is not the image's Debian 12")
        listed = subprocess.run(["readelf", "--dynamic", PROGRAM], check=True, capture_output=True, text=True).stdout
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", listed)
        self.assertTrue(needed)
        texts = [(PACKAGING / name).read_text() for name in ("Dockerfile", "Dockerfile.cuda")]
        found = subprocess.run(["dpkg-query", "--search", *(f"*/{library}" for library in needed)], check=True,
                               capture_output=True, text=True).stdout
        owners = [(line.split(":")[0], line.rsplit("/", 1)[1]) for line in found.splitlines()]
        for library in needed:
            packages = {package for package, file in owners if file == library}
            if packages & {"libc6", "libstdc++6", "libgcc-s1"}:  # libraries of C++, which the others bring
                continue
            for text in texts:
                self.assertTrue(any(re.search(rf"[ \n]{re.escape(name)}[ \n\\]", text) for name in packages),
                                f"{library} of {packages}")

    def test_apptainer_definitions(self):
        debian = [("Bootstrap", "docker"), ("From", "debian:12")]
        toolkit = next(rest.split()[0] for name, rest in instructions((PACKAGING / "Dockerfile.cuda").read_text())
                       if name == "FROM")
        cuda = [("Bootstrap", "docker"), ("From", toolkit), ("Stage", "cuda"), *debian, ("Stage", "final")]
        self.check_definition(PACKAGING / "jreg.def", debian, {"files"})
        self.check_definition(PACKAGING / "jreg_cuda.def", cuda, {"files", "files from cuda"})

    def check_definition(self, path, wanted, files):
        head, *sections = re.split(r"^%", path.read_text(), flags=re.MULTILINE)
        self.assertEqual(re.findall(r"^(\w+): (\S+)$", head, re.MULTILINE), wanted)
        bodies = {section.split("\n", 1)[0].strip(): section.split("\n", 1)[1] for section in sections}
        self.assertEqual(set(bodies), {*files, "post", "environment", "runscript", "test", "labels"})
        for name in ("post", "environment", "runscript", "test"):
            self.check_script(bodies[name])


if __name__ == "__main__":
    PROGRAM, VERSION = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main()
