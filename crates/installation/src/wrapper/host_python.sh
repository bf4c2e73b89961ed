[ -x "$interpreter" ] || die "the Python that this installation was built on, $interpreter ($interpreter_version), is not on this machine: load or install it again, or build the installation anew"
# Entries in PYTHONPATH of loaded modules and of other interpreters do not fit these packages and
# are removed. CW_KEEP_PYTHONPATH=1 keeps PYTHONPATH unchanged.
own_python_path() {
  rest=$PYTHONPATH: kept=''
  while [ "$rest" ]; do
    entry=${rest%%:*} rest=${rest#*:}
    case ";${__LMOD_REF_COUNT_PYTHONPATH-};" in *";$entry:"[0-9]*) continue ;; esac
    case ":${__MODULES_SHARE_PYTHONPATH-}:${PYTHONPATH_modshare-}:" in *":$entry:"[0-9]*) continue ;; esac
    case $entry in
      */lib/python[0-9]*/site-packages | */lib64/python[0-9]*/site-packages)
        d=${entry%/lib*/python*}
        [ -x "$d/bin/python3" ] && [ ! -e "$d/pyvenv.cfg" ] && continue
        ;;
    esac
    kept=$kept:$entry
  done
  if [ "$kept" ]; then PYTHONPATH=${kept#:}; else unset PYTHONPATH; fi
  unset PYTHONHOME
}
[ "${CW_KEEP_PYTHONPATH-}" ] || [ -z "${PYTHONPATH-}${PYTHONHOME-}" ] || own_python_path
