# Searches PATH for Python, and sets `python` to its path.
python=$(command -v python) || python=$(command -v python3) ||
  die 'there is neither python nor python3 on PATH'
