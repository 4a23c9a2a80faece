"""The Centrifuge client protocol, version 2, as a server speaks it. Pure: no Trio, no I/O, no clock."""
