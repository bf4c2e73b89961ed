#%Module
# Written by `condense module`, which writes it anew: changes here would be lost.
@RECORD@
proc ModulesHelp { } {
@HELP@
}
module-whatis @DESCRIPTION@
@KEYWORDS@
if {[info commands extensions] ne ""} {
  extensions @EXTENSIONS@
}

set root @ROOT@
conflict @CONFLICTS@
setenv CONTAINERROOT $root
setenv EBROOT@SUFFIX@ $root
setenv EBVERSION@SUFFIX@ @VERSION@
prepend-path PATH "$root/bin"
