-- Module file for Lmod. install.sh writes PREFIX into the next line.
local prefix = myFileName():match("^(.*)/share/modulefiles/condense/[^/]*$")

help([[
Packs conda and pip environments into one file with wrappers that run in a container.
Names: condense, conda-containerize, pip-containerize, wrap-container, wrap-install, cotainr.
Documentation: man condense, and share/doc/condense below the installation.
]])
whatis("Name: condense")
whatis("Version: @VERSION@")
whatis("Description: packs conda environments into one SquashFS file with wrappers")

prepend_path("PATH", pathJoin(prefix, "bin"))
-- man finds the pages by PATH, unless MANPATH is set.
if os.getenv("MANPATH") then
  prepend_path("MANPATH", pathJoin(prefix, "share/man"))
end
