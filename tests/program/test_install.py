"""`cmake --install` puts a program that runs, and what goes with it, below a prefix."""
import pathlib
import subprocess
import sys
import tempfile


LMOD = pathlib.Path("/usr/share/lmod/lmod/init/bash")


def load_module(prefix):
    """The installed environment module finds the installed program."""
    if not LMOD.exists():
        print("environment module not tried: Lmod is not installed")
        return
    script = f"source {LMOD} && module use {prefix}/share/jreg/modulefiles && module load jreg && command -v jreg && " \
             "ls $JREG_HOME/launch/mpirun.sh"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == [str(prefix / "bin/jreg"), str(prefix / "share/jreg/launch/mpirun.sh")], \
        result.stdout + result.stderr


def main():
    cmake, build = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        prefix = pathlib.Path(name) / "usr"
        subprocess.run([cmake, "--install", build, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
        files = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
        wanted = {"bin/jreg", "share/jreg/configs/quickstart.cfg", "share/jreg/launch/mpirun.sh",
                  "share/jreg/slurm/jreg_1b.sh", "share/jreg/slurm/train.sh", "share/jreg/launch/common.sh",
                  "share/jreg/tools/plot_dynamics.py", "share/jreg/tools/read_dynamics.py",
                  "share/jreg/tools/to_tensorboard.py", "share/jreg/tools/dynamics.py", "share/doc/jreg/README.md",
                  "share/doc/jreg/LICENSE"}
        assert wanted <= files, f"not installed: {wanted - files}"
        help_text = subprocess.run([prefix / "bin/jreg", "train", "--help"], check=True, capture_output=True, text=True)
        assert "--train.steps" in help_text.stdout
        # The installed launcher finds the installed program.
        config = prefix / "share/jreg/configs/quickstart.cfg"
        launched = subprocess.run([prefix / "share/jreg/launch/mpirun.sh", "-n", "1", config, "--data.train", "nowhere/t"],
                                  capture_output=True, text=True, check=False, cwd=name,
                                  env={"PATH": "/usr/bin:/bin", "HOME": name})  # Open MPI 5 needs a home
        assert launched.returncode == 2 and "nowhere/t" in launched.stderr, launched.stderr
        load_module(prefix)


if __name__ == "__main__":
    main()
