-- Written by `condense module`, which writes it anew: changes here would be lost.
@RECORD@
help(@HELP@)
whatis(@DESCRIPTION@)
@KEYWORDS@
if extensions then
  extensions(@EXTENSIONS@)
end

local root = @ROOT@
conflict(@CONFLICTS@)
setenv("CONTAINERROOT", root)
setenv("EBROOT@SUFFIX@", root)
setenv("EBVERSION@SUFFIX@", @VERSION@)
prepend_path("PATH", root .. "/bin")
