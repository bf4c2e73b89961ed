# Activates the user's virtual environment in a shell of the container:
#   . /runscripts/init-conda-venv
# It is that of VIRTUAL_ENV, else the only one in /user-software/venv. The image's own environment
# is active already. Images in which it is not set WITH_CONDA to the command that activates it.
# Part of condense.
case ${CONDA_PREFIX-}${WITH_CONDA:-true} in
  source\ * | .\ *) eval "$WITH_CONDA" ;;
esac
condense_found=${VIRTUAL_ENV-}
if [ -z "$condense_found" ]; then
  for condense_venv in /user-software/venv/*/bin/activate; do
    [ -r "$condense_venv" ] || continue
    if [ "$condense_found" ]; then
      echo 'init-conda-venv: /user-software/venv has several environments: set VIRTUAL_ENV to the path of one' >&2
      condense_found=''
      break
    fi
    condense_found=${condense_venv%/bin/activate}
  done
fi
if [ "$condense_found" ] && [ -r "$condense_found/bin/activate" ]; then
  . "$condense_found/bin/activate"
elif [ "${VIRTUAL_ENV-}" ]; then
  echo "init-conda-venv: VIRTUAL_ENV names $VIRTUAL_ENV, which has no bin/activate" >&2
fi
unset condense_found condense_venv
