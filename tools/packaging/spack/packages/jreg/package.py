# Spack recipe of jreg, for a source tree that is there; docs/packaging.md tells how it is called.
from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Jreg(CMakePackage, CudaPackage):
    """Distributed pretraining of Llama models with the jump-suppressing regularizer JREG (arXiv 2601.18302)."""

    homepage = "https://arxiv.org/abs/2601.18302"

    license("Apache-2.0")

    # Built from the source tree of `spack dev-build` or `spack develop`: there is no archive to download.
    version("0.1.0")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("git", type="build")  # the commit that every run records

    depends_on("mpi")
    depends_on("hdf5@1.10.8: +hl")
    depends_on("boost@1.74: +program_options")
    depends_on("fmt@9:")
    depends_on("nlohmann-json@3.11:")
    depends_on("onednn@2.5:3")
    depends_on("sentencepiece")
    depends_on("xxhash@0.8:")

    # CudaPackage brings the variants cuda and cuda_arch.
    depends_on("cuda@12:", when="+cuda")
    depends_on("nccl", when="+cuda")
    conflicts("cuda_arch=none", when="+cuda", msg="name the GPUs, for example cuda_arch=80,90")

    conflicts("%gcc@:11", msg="jreg needs the C++20 of GCC 12")

    generator("ninja")

    def cmake_args(self):
        arguments = [self.define("JREG_BUILD_TESTS", self.run_tests), self.define_from_variant("JREG_WITH_CUDA", "cuda")]
        if self.spec.satisfies("+cuda"):
            arguments.append(self.define("CMAKE_CUDA_ARCHITECTURES", self.spec.variants["cuda_arch"].value))
        return arguments
