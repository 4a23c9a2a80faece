"""`python -m nexios_trio`: the command `nexios-trio`, as the workers are started."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="nexios-trio")
