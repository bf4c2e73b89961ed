# Sets `python` to the name of the Python on PATH.
python=python
command -v python >/dev/null || {
  python=python3
  command -v python3 >/dev/null || die 'there is neither python nor python3 on PATH'
}
