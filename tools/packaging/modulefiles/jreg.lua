-- Environment module of jreg (Lmod). cmake --install puts it into share/jreg/modulefiles/jreg/VERSION.lua, and it finds
-- the rest from there: module use PREFIX/share/jreg/modulefiles, then module load jreg.
local prefix = myFileName():match("^(.*)/share/jreg/modulefiles/jreg/[^/]*$")
if not prefix then
  LmodError("jreg: " .. myFileName() .. " does not lie in share/jreg/modulefiles/jreg of an installation")
end

help([[Distributed pretraining of Llama models with JREG. jreg --help lists the commands;
$JREG_HOME/launch/mpirun.sh starts runs, $JREG_HOME/configs holds configurations.]])
whatis("Name: jreg")
whatis("Version: " .. myModuleVersion())
whatis("Description: pretrains Llama models with the jump-suppressing regularizer JREG (arXiv 2601.18302)")
whatis("URL: https://arxiv.org/abs/2601.18302")

conflict("jreg")
prepend_path("PATH", pathJoin(prefix, "bin"))
setenv("JREG_HOME", pathJoin(prefix, "share/jreg"))
