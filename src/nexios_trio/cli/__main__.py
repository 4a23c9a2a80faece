"""`python -m nexios_trio.cli`: the command `nexios-trio`."""

from .main import main

main(prog_name="nexios-trio")
