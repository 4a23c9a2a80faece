"""`python -m nexios_trio.cli`: the command `nexios-trio`."""

from .main import main

if __name__ == "__main__":
    main(prog_name="nexios-trio")
