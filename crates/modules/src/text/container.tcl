
# Only one module of a container image at a time: their bind mounts meet at the same places.
if {[info commands family] ne ""} {
  family condense_container
}

# The image of this module, else a copy of the same name.
proc from_environment {name default} {
  if {[info exists ::env($name)] && $::env($name) ne ""} {
    return $::env($name)
  }
  return $default
}
set candidates [list \
@CANDIDATES@
]
set image ""
foreach path $candidates {
  if {$image eq "" && [file isfile $path]} {
    set image $path
  }
}
if {$image eq "" && [module-info mode load]} {
  puts stderr "ERROR: Cannot locate the singularity container file @FILE@.\
    One potential cause is that it may have been removed from the system."
  break
}
if {$image eq ""} {
  set image [lindex $candidates 0]
}
setenv SIF $image
setenv SIF@SUFFIX@ $image
setenv RUNSCRIPTS "$root/runscripts"
setenv RUNSCRIPTS@SUFFIX@ "$root/runscripts"

set values [list \
@VALUES@
]
set inside_path [list @PATH@]
set binds [list \
@BINDS@
]

# Loading makes a plan of the variables that are free or shared with the user, and unloading
# follows the plan, whatever has changed in between.
set plan_name CONDENSE_MODULE_@SUFFIX@
set plan [from_environment $plan_name ""]
set loads [expr {[module-info mode load] || $plan eq ""}]
set is_lmod [info exists ::env(LMOD_VERSION)]

set entries [list]
foreach {source entry} $binds {
  if {!$loads || @KEEPS_MISSING@ || [file exists $source]} {
    lappend entries $entry
  }
}
lappend entries "$root/runscripts:/runscripts"
set packed "$root/user-software.squashfs"
set is_packed [file isfile $packed]
if {!$loads || $is_packed} {
  lappend entries "$packed:/user-software:image-src=/"
}
if {!$loads || (!$is_packed && [file isdirectory "$root/user-software"])} {
  lappend entries "$root/user-software:/user-software"
}

if {$loads} {
  # Both variables add up, so the free one is taken. Lmod's paths would change how the values of
  # others and `image-src=/` are written, so it keeps these on a stack.
  set slot BIND
  set has_bind [expr {[from_environment SINGULARITY_BIND ""] ne ""}]
  set is_taken [expr {$has_bind && [from_environment SINGULARITY_BINDPATH ""] ne ""}]
  if {$has_bind && !$is_taken} {
    set slot BINDPATH
  }
  set kind list
  if {$is_lmod && $is_taken} {
    set kind stack
  } elseif {$is_lmod && $is_packed} {
    set kind own
  }
  set plan [list $kind:SINGULARITY_$slot]
  if {[from_environment APPTAINER_$slot ""] ne ""} {
    lappend plan [expr {$is_lmod ? "stack" : "list"}]:APPTAINER_$slot
  }
  lappend plan path:SINGULARITYENV_PREPEND_PATH
  if {[from_environment APPTAINERENV_PREPEND_PATH ""] ne ""} {
    lappend plan path:APPTAINERENV_PREPEND_PATH
  }
  foreach {name value} $values {
    if {![info exists ::env($name)]} {
      lappend plan value:$name
    }
  }
}
setenv $plan_name $plan

foreach step $plan {
  set kind [lindex [split $step :] 0]
  set name [lindex [split $step :] 1]
  if {$kind eq "list"} {
    foreach entry $entries {
      append-path -d , $name $entry
    }
  } elseif {$kind eq "own"} {
    # Tells Lmod how a list in this variable is split, if the module is loaded again at once.
    if {!$loads} {
      append-path -d , $name $packed
    }
    setenv $name [join $entries ,]
  } elseif {$kind eq "stack"} {
    set old [from_environment $name ""]
    # Lmod reads the variable after this file has changed it, so the old value goes first.
    if {$loads} {
      pushenv $name $old
    }
    pushenv $name "$old,[join $entries ,]"
  } elseif {$kind eq "path"} {
    foreach dir [lreverse $inside_path] {
      prepend-path $name $dir
    }
  } else {
    set found ""
    foreach {known value} $values {
      if {$known eq $name} {
        set found $value
      }
    }
    setenv $name $found
  }
}
