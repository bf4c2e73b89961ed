#%Module1.0
## Module file for Environment Modules. install.sh writes PREFIX into the next line.
set prefix [file normalize [file join [file dirname $ModulesCurrentModulefile] .. .. ..]]

proc ModulesHelp {} {
    puts stderr "Packs conda and pip environments into one file with wrappers that run in a container."
    puts stderr "Names: condense, conda-containerize, pip-containerize, wrap-container, wrap-install, cotainr."
    puts stderr "Documentation: man condense, and share/doc/condense below the installation."
}
module-whatis "condense @VERSION@: packs conda environments into one SquashFS file with wrappers"

prepend-path PATH [file join $prefix bin]
# man finds the pages by PATH, unless MANPATH is set.
if {[info exists env(MANPATH)]} {
    prepend-path MANPATH [file join $prefix share man]
}
